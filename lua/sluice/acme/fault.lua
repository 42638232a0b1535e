--- What went wrong with a CA, in words that say what to do about it. Pure.
--
-- A fault is a table: `text`; `scope`, who has to wait: "name" (the one that was asked for), "ca"
-- (every name: the CA or our account is not well), "limit" (a rate limit: this name for long, and
-- the others for a while); `retry_after`, seconds that the CA asks for; `type`, the last part of
-- the problem's URN (RFC 8555, section 6.7); `status`, of HTTP.

local fault = {}

local max_text = 300

-- By the type of the problem: what an operator can do.
local hints = {
  accountDoesNotExist = "the CA has forgotten the account; it is registered again",
  caa = "a CAA record of the domain does not let this CA issue for it",
  connection = "the CA could not connect: ports 443 (tls-alpn-01) and 80 (http-01) of this name "
    .. "must lead here from the Internet",
  dns = "the CA could not look the name up: it needs an A or AAAA record that leads here",
  externalAccountRequired = "this CA wants an account of its own: set eab (kid, hmac_key)",
  incorrectResponse = "somebody else answers for this name: its A and AAAA records must lead here",
  invalidContact = "the CA does not like the e-mail address",
  invalidProfile = "the CA does not know the profile",
  rateLimited = "a rate limit of the CA; nothing to do but wait, or to use its staging directory "
    .. "for tests",
  rejectedIdentifier = "the CA does not issue for this name",
  serverInternal = "the CA has a problem; it is tried again",
  tls = "the CA could not speak TLS with the server of this name: its A and AAAA records must "
    .. "lead here, without another proxy that ends TLS in between",
  unauthorized = "somebody else answers for this name, or the account may not have it: its A and "
    .. "AAAA records must lead here",
  unsupportedContact = "the CA does not like the e-mail address",
  unsupportedIdentifier = "the CA does not issue for this name",
  userActionRequired = "the CA wants its terms to be agreed to in a browser",
}

local scopes = {
  accountDoesNotExist = "ca",
  externalAccountRequired = "ca",
  invalidContact = "ca",
  invalidProfile = "ca",
  rateLimited = "limit",
  serverInternal = "ca",
  unsupportedContact = "ca",
  userActionRequired = "ca",
}

-- What others sent goes into a log: on one line, and not all of it.
local function tidy(text)
  text = tostring(text):gsub("[%c\127]+", " ")
  return #text > max_text and text:sub(1, max_text) .. "…" or text
end

function fault.new(scope, text, ...)
  return { scope = scope, text = select("#", ...) > 0 and text:format(...) or text }
end

--- The CA cannot be reached, or what answers is none.
function fault.unreachable(url, err)
  local hint = "is the directory right, and may this machine connect to it?"
  if err:find("TLS context", 1, true) then
    hint = "ca_file cannot be read, or there is no certificate in it"
  elseif err:find("certificate", 1, true) then
    hint = "if the CA is one of your own set ca_file, and check the clock of this machine"
  end
  return fault.new("ca", "%s: %s (%s)", url, tidy(err), hint)
end

local function detail_of(problem)
  local parts = { type(problem.detail) == "string" and problem.detail or problem.type }
  for _, sub in ipairs(type(problem.subproblems) == "table" and problem.subproblems or {}) do
    if type(sub) == "table" and type(sub.detail) == "string" then
      parts[#parts + 1] = sub.detail
    end
  end
  return tidy(table.concat(parts, "; "))
end

--- The fault that a problem document stands for.
-- @tparam table problem decoded JSON
-- @tparam[opt] number status of HTTP
-- @treturn ?table nil: it is no problem document
function fault.of_problem(problem, status)
  local kind = type(problem) == "table" and type(problem.type) == "string"
    and problem.type:match("^urn:ietf:params:acme:error:(%w+)$")
  if not kind then
    return nil
  end
  local hint = hints[kind]
  return {
    scope = scopes[kind] or "name",
    text = ("%s: %s%s"):format(kind, detail_of(problem), hint and (" (%s)"):format(hint) or ""),
    type = kind,
    status = status,
  }
end

--- The fault of a response that is not what was asked for.
-- @tparam table response of sluice.fetch
-- @param problem its body as JSON, if it is some
-- @tparam ?number retry_after
function fault.of_response(url, response, problem, retry_after)
  local found = fault.of_problem(problem, response.status)
  if not found then
    found = fault.new("ca", "%s: status %d, and no ACME problem document (is this the directory of "
      .. "an ACME CA, and is the CA well?)", url, response.status)
    found.status = response.status
  end
  found.retry_after = retry_after
  return found
end

--- The CA said something that makes no sense.
function fault.garbage(url, what)
  return fault.new("ca", "%s: %s (is this the directory of an ACME CA, and is the CA well?)", url,
    what)
end

return fault
