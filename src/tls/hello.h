/*
 * What a server reads out of a ClientHello's extensions, as pure functions of their bytes. OpenSSL
 * has parsed the message; it leaves these to us, since it would keep the name as the client wrote
 * it.
 */
#ifndef SL_TLS_HELLO_H
#define SL_TLS_HELLO_H

#include "base/str.h"

enum { SL_HELLO_NAME_MAX = 255 };

/* The host name of a server_name extension (RFC 6066, section 3): lower case, without the trailing
   dot, so that one name has one policy however it is spelled; made of letters, digits, '-', '_' and
   '.' alone. 0 and `out`, else the number of the alert to send: decode_error when the extension is
   malformed, illegal_parameter when it has two names or one that no host can have. */
int sl_hello_name(struct sl_str ext, char out[SL_HELLO_NAME_MAX + 1], size_t *len);
/* The protocol list inside an ALPN extension (RFC 7301), or an empty one when it is malformed. */
struct sl_str sl_hello_alpn(struct sl_str ext);
/* Does a supported_versions extension (RFC 8446, section 4.2.1) name this version (0x0304)? */
bool sl_hello_offers(struct sl_str ext, unsigned version);

#endif
