/* TLS for the load programs' client: what send and recv do, on a connection whose URL was https.
 * Certificates are not checked. One thread. */
#ifndef LOAD_CLIENT_TLS_H
#define LOAD_CLIENT_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include <sys/types.h>

typedef struct ssl_ctx_st client_tls_context;
typedef struct ssl_st client_tls;

client_tls_context *client_tls_init(void);
void client_tls_end(client_tls_context *context);
client_tls *client_tls_open(client_tls_context *context, int fd);

/* As send and recv on a socket that does not block: -1 with errno. The handshake is part of the
 * first one. `awaits_read`: it is to be called again when there is something to read, not when
 * there is room to write. */
ssize_t client_tls_send(client_tls *tls, const void *data, size_t len, bool *awaits_read);
ssize_t client_tls_recv(client_tls *tls, void *data, size_t len);

/* Says goodbye unless `reset`; the socket stays the caller's. */
void client_tls_close(client_tls *tls, bool reset);

#endif
