--- JSON, files, shared data.

local failure = { "string|nil", "why not" }
local text = { { "string" } }

-- Files may be read and written while a script loads, too: nothing is kept waiting then.
local where_files = { "load", "on_hello", "on_request", "on_edge", "start", "stop", "check",
  "handler", "task" }

return {
  { name = "sluice.json.encode", args = { { "value", "any" } }, returns = text,
    doc = "Empty tables become {} unless they were marked with sluice.json.array." },
  { name = "sluice.json.decode", args = { { "text", "string" },
    { "from?", "integer", "the byte where it begins" } },
    returns = { { "any" }, failure }, doc = "null becomes sluice.json.null." },
  { name = "sluice.json.array", args = { { "t?", "table" } }, returns = { { "table" } },
    doc = "Marks the table, so that it is written as [] even when it is empty." },
  { name = "sluice.json.null", value = true, type = "userdata", doc = "The null of JSON." },

  { name = "sluice.file.read", args = { { "path", "string" }, { "max?", "integer" } },
    waits = true, where = where_files,
    returns = { { "string|nil" }, { "string|nil", '"not found", …' } },
    doc = "The bytes of a file." },
  { name = "sluice.file.write", args = { { "path", "string" }, { "bytes", "string" },
    { "options?", "{mode?: integer}" } }, waits = true, where = where_files,
    returns = { { "true|nil" }, failure },
    doc = "Replaces the file as a whole: readers see the old or the new one. mode: 0600." },
  { name = "sluice.file.exists", args = { { "path", "string" } }, waits = true, where = where_files,
    returns = { { "boolean" } }, doc = "Is there such a file?" },
  { name = "sluice.file.remove", args = { { "path", "string" } }, waits = true, where = where_files,
    returns = { { "true|nil" }, failure }, doc = "Removes a file." },
  { name = "sluice.file.mkdir", args = { { "path", "string" } }, waits = true, where = where_files,
    returns = { { "true|nil" }, failure }, doc = "Makes a folder and those above it." },

  { name = "sluice.shared", args = { { "name", "string" } }, returns = { { "sluice.Dict" } },
    doc = "A dictionary that all workers and the control thread share, as long as the process." },
  { name = "dict:get", args = { { "key", "string" } },
    returns = { { "string|number|boolean|nil" } }, doc = "The value." },
  { name = "dict:set", args = { { "key", "string" }, { "value", "string|number|boolean" },
    { "ttl?", "number", "seconds" } }, returns = { { "true|nil" }, failure },
    doc = "Stores the value." },
  { name = "dict:add", args = { { "key", "string" }, { "value", "string|number|boolean" },
    { "ttl?", "number" } }, returns = { { "true|nil" }, failure },
    doc = "Stores the value if the key is not there." },
  { name = "dict:incr", args = { { "key", "string" }, { "by", "number" }, { "init?", "number" },
    { "ttl?", "number" } }, returns = { { "number|nil" }, failure },
    doc = "Adds to a number and returns the sum; without init the key must be there." },
  { name = "dict:delete", args = { { "key", "string" } }, returns = { { "boolean" } },
    doc = "Removes a key. Was it there?" },
}
