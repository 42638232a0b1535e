--- Digests, encodings, keys and certificates.

local failure = { "string|nil", "why not" }
local bytes = { { "bytes", "string" } }
local text = { { "string" } }
local names = { "names", "string|string[]",
  "1 to 100 host names (also `*.example.com`) or IP addresses" }
local alg = { "alg", "string",
  '"ES256" for P-256, "ES384" for P-384, "ES512" for P-521; "RS256", "RS384", "RS512", "PS256", '
    .. '"PS384", "PS512" for RSA' }

return {
  { name = "sluice.crypto.sha256", args = bytes, returns = text, doc = "32 raw bytes." },
  { name = "sluice.crypto.hmac_sha256", args = { { "key", "string" }, { "bytes", "string" } },
    returns = text, doc = "32 raw bytes." },
  { name = "sluice.crypto.hex", args = bytes, returns = text, doc = "Lower-case digits." },
  { name = "sluice.crypto.base64", args = bytes, returns = text, doc = "With padding." },
  { name = "sluice.crypto.unbase64", args = { { "text", "string" } },
    returns = { { "string|nil" }, failure }, doc = "The bytes." },
  { name = "sluice.crypto.base64url", args = bytes, returns = text,
    doc = "For URLs, without padding." },
  { name = "sluice.crypto.unbase64url", args = { { "text", "string" } },
    returns = { { "string|nil" }, failure }, doc = "The bytes." },
  { name = "sluice.crypto.base32", args = bytes, returns = text,
    doc = "Lower case, without padding: bytes as a label of a host name." },
  { name = "sluice.crypto.unbase32", args = { { "text", "string", "in either case" } },
    returns = { { "string|nil" }, failure }, doc = "The bytes." },
  { name = "sluice.crypto.random", args = { { "n", "integer" } }, returns = text,
    doc = "n bytes that nobody can guess." },
  { name = "sluice.crypto.equal", args = { { "a", "string" }, { "b", "string" } },
    returns = { { "boolean" } },
    doc = "Compares in a time that says nothing about where they differ." },
  { name = "sluice.crypto.self_signed", args = { { "name", "string" } },
    returns = { { "string|nil", "PEM" }, { "string", "its key, PEM; or why not" } },
    doc = "A new key (P-256) and a certificate for this host name or address that it has signed "
      .. "itself, for ten years: for a service that keeps them." },
  { name = "sluice.crypto.fingerprint", args = { { "cert", "string", "PEM" } },
    returns = { { "string|nil" }, failure },
    doc = "The SHA-256 of the public key of a certificate, the first in the text: 32 raw bytes." },
  { name = "sluice.crypto.certificate",
    args = { { "pem", "string", "the first certificate counts" } },
    returns = { { "sluice.CertificateFacts|nil" }, failure },
    doc = "What a certificate says. It is not verified." },

  { name = "sluice.crypto.new_key", args = { { "kind?", "string",
    '"P-256" (default), "P-384", "P-521", "RSA-2048", "RSA-3072", "RSA-4096"' } },
    returns = { { "sluice.Key|nil" }, failure },
    doc = "Makes a private key. For an RSA key, which may take seconds, the task waits; it cannot "
      .. "be made where no task may wait." },
  { name = "sluice.crypto.key", args = { { "from", "string|table",
    "PEM (PKCS#8, SEC1, PKCS#1, SubjectPublicKeyInfo; not encrypted), or a JWK" } },
    returns = { { "sluice.Key|nil" }, failure },
    doc = "Reads a private or public key: EC on P-256, P-384 or P-521, RSA with 2048 to 4096 bits. "
      .. "The coordinates of a JWK may lack leading zeros. A point that is not on the curve, and a "
      .. "private key that does not fit its public half, are refused." },
  { name = "key:is_private", args = {}, returns = { { "boolean" } },
    doc = "Is the private half there?" },
  { name = "key:kind", args = {}, returns = text, doc = '"P-256", "RSA-2048", ….' },
  { name = "key:pem", args = { { "form?", '"pkcs8"|"sec1"|"traditional"',
    "sec1 for EC keys; traditional: SEC1 for EC, PKCS#1 for RSA; default pkcs8" } }, returns = text,
    doc = "The private key. Whoever has this text has the key: it does not belong into logs." },
  { name = "key:public_pem", args = {}, returns = text,
    doc = "The public key (SubjectPublicKeyInfo)." },
  { name = "key:jwk", args = {}, returns = { { "table<string, string>" } },
    doc = "The public key as a JWK in its one normal form: crv, kty, x, y or e, kty, n." },
  { name = "key:thumbprint", args = {}, returns = text,
    doc = "The SHA-256 of that JWK (RFC 7638): 32 raw bytes." },
  { name = "key:sign", args = { alg, { "bytes", "string" } }, returns = text,
    doc = "The signature as JWS has it (RFC 7518): R and S one after the other for EC. Throws when "
      .. "the algorithm is not one for this key, or the key is a public one." },
  { name = "key:verify", args = { alg, { "bytes", "string" }, { "signature", "string" } },
    returns = { { "boolean" } },
    doc = "Is this the signature of these bytes? An algorithm that is not one for this key: no." },
  { name = "key:csr", args = { names }, returns = { { "string|nil", "DER" }, failure },
    doc = "A request (PKCS#10) for a certificate with these names and no other subject." },
  { name = "key:self_signed", args = { names,
    { "options?", "{days?: integer, acme_identifier?: string}" } },
    returns = { { "string|nil", "PEM" }, failure },
    doc = "A certificate that the key has signed itself, for 90 days unless said otherwise (at "
      .. "most 3650). acme_identifier: 32 raw bytes, for the extension of tls-alpn-01, RFC 8737." },
}
