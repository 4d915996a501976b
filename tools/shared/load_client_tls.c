/* See load_client_tls.h. */
#include "load_client_tls.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "load_figures.h"

client_tls_context *client_tls_init(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());

    if (!context)
        fail("OpenSSL: no context");
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    return context;
}

void client_tls_end(client_tls_context *context)
{
    SSL_CTX_free(context);
}

client_tls *client_tls_open(client_tls_context *context, int fd)
{
    SSL *tls = SSL_new(context);

    if (!tls || !SSL_set_fd(tls, fd))
        fail("OpenSSL: out of memory");
    SSL_set_connect_state(tls);
    return tls;
}

static int clamp(size_t len)
{
    return len < INT_MAX ? (int)len : INT_MAX;
}

/* What a result that is not positive means, as a socket would say it. */
static ssize_t failure(SSL *tls, int result, bool *awaits_read)
{
    int error = SSL_get_error(tls, result);

    *awaits_read = error == SSL_ERROR_WANT_READ;
    if (error == SSL_ERROR_ZERO_RETURN)
        return 0;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        errno = EAGAIN;
    else if (error != SSL_ERROR_SYSCALL || errno == 0 || errno == EAGAIN)
        errno = EPROTO;
    return -1;
}

ssize_t client_tls_send(client_tls *tls, const void *data, size_t len, bool *awaits_read)
{
    *awaits_read = false;
    ERR_clear_error();
    int n = SSL_write(tls, data, clamp(len));
    return n > 0 ? n : failure(tls, n, awaits_read);
}

ssize_t client_tls_recv(client_tls *tls, void *data, size_t len)
{
    bool awaits_read;

    ERR_clear_error();
    int n = SSL_read(tls, data, clamp(len));
    return n > 0 ? n : failure(tls, n, &awaits_read);
}

void client_tls_close(client_tls *tls, bool reset)
{
    if (!reset && SSL_is_init_finished(tls))
        SSL_shutdown(tls);
    ERR_clear_error();
    SSL_free(tls);
}
