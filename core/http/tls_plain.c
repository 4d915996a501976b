/* What is said in clear on connections that are to speak TLS, and which connection OpenSSL speaks
 * of; in both flavours. On the thread of the connection's loop. */
#include "connection.h"

#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>

#define PLAIN_BODY     "{\"error\": \"this port speaks TLS: write https://\"}"
#define PLAIN_BODY_LEN "49"

static const char plain_answer[] = "HTTP/1.1 400 Bad Request\r\n"
                                   "Content-Type: application/json\r\n"
                                   "Content-Length: " PLAIN_BODY_LEN "\r\n"
                                   "Connection: close\r\n"
                                   "\r\n" PLAIN_BODY;
_Static_assert(sizeof(PLAIN_BODY) - 1 == 49, "as PLAIN_BODY_LEN says");

static void send_now(int fd, const void *bytes, size_t len)
{
    (void)!send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void lp__tls_answer_plain(int fd)
{
    recv(fd, NULL, 1 << 20, MSG_TRUNC | MSG_DONTWAIT);
    send_now(fd, plain_answer, sizeof(plain_answer) - 1);
}

void lp__tls_send_alert(int fd, int alert)
{
    unsigned char record[] = {21, 3, 3, 0, 2, (unsigned char)(alert >> 8), (unsigned char)alert};
    send_now(fd, record, sizeof(record));
}

h2o_socket_t *lp__tls_socket_of(const SSL *ssl)
{
    BIO *bio = SSL_get_rbio(ssl);
    bool is_h2o = bio && strcmp(BIO_method_name(bio), "h2o_socket") == 0;
    return is_h2o ? BIO_get_data(bio) : NULL;
}
