/* See load_client_tls.h: what it says where OpenSSL is not there. */
#include "load_client_tls.h"

#include "load_figures.h"

client_tls_context *client_tls_init(void)
{
    fail("https: this program was built without OpenSSL (say http, or build it where OpenSSL is)");
}

void client_tls_end(client_tls_context *context)
{
    (void)context;
}

client_tls *client_tls_open(client_tls_context *context, int fd)
{
    (void)context;
    (void)fd;
    return NULL;
}

ssize_t client_tls_send(client_tls *tls, const void *data, size_t len, bool *awaits_read)
{
    (void)tls;
    (void)data;
    (void)len;
    (void)awaits_read;
    return -1;
}

ssize_t client_tls_recv(client_tls *tls, void *data, size_t len)
{
    (void)tls;
    (void)data;
    (void)len;
    return -1;
}

void client_tls_close(client_tls *tls, bool reset)
{
    (void)tls;
    (void)reset;
}
