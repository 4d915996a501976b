/* Contexts of OpenSSL from a certificate's files, see lp_tls_new. Any thread. */
#include "inside.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

/* TLS 1.2 with forward secrecy and authenticated encryption alone (RFC 9325, 4.2). */
#define CIPHERS_OF_TLS12 "ECDHE+AESGCM:ECDHE+CHACHA20"

/* libh2o's HTTP/2 can be made to abort the process, so it is not offered. Who offers protocols, and
 * not this one, is refused (RFC 7301, 3.2). */
static int select_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *offered, unsigned offered_len, void *ctx)
{
    static const char name[] = "http/1.1";
    (void)ssl, (void)ctx;
    for (unsigned at = 0; at < offered_len; at += 1u + offered[at]) {
        if (offered[at] == sizeof(name) - 1 && memcmp(offered + at + 1, name, offered[at]) == 0) {
            *out = offered + at + 1;
            *out_len = offered[at];
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Nobody is there to type a password. */
static int note_password(char *buf, int size, int writes, void *asked)
{
    (void)buf, (void)size, (void)writes;
    *(bool *)asked = true;
    return -1;
}

static int check_readable(const char *what, const char *path, lp_error *error)
{
    char byte;
    FILE *file = fopen(path, "r");
    errno = file ? 0 : errno;
    bool is_empty = file && fread(&byte, 1, 1, file) != 1;
    int failure = errno;
    if (file)
        fclose(file);
    if (failure)
        return lp_error_set(error, LP_EINVAL,
                            "TLS %s \"%s\": cannot be read: %s (the user that runs this program "
                            "must be able to)",
                            what, path, strerror(failure));
    if (is_empty)
        return lp_error_set(error, LP_EINVAL, "TLS %s \"%s\": is empty (give a file in PEM)", what,
                            path);
    return LP_OK;
}

static const char *reason(unsigned long code)
{
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    return text ? text : "unknown error";
}

static int read_chain(SSL_CTX *ctx, const char *chain, lp_error *error)
{
    if (check_readable("chain", chain, error) != LP_OK)
        return LP_EINVAL;
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(ctx, chain) == 1)
        return LP_OK;
    unsigned long code = ERR_peek_error();
    if (ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE)
        return lp_error_set(error, LP_EINVAL,
                            "TLS chain \"%s\": holds no certificate in PEM (it must begin with "
                            "\"-----BEGIN CERTIFICATE-----\", the server's own first)",
                            chain);
    return lp_error_set(error, LP_EINVAL,
                        "TLS chain \"%s\": cannot be used: %s (give the server's certificate in "
                        "PEM, followed by those that signed it)",
                        chain, reason(code));
}

static int read_key(SSL_CTX *ctx, const char *chain, const char *key, lp_error *error)
{
    bool is_encrypted = false;
    if (check_readable("key", key, error) != LP_OK)
        return LP_EINVAL;
    SSL_CTX_set_default_passwd_cb(ctx, note_password);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, &is_encrypted);
    ERR_clear_error();
    bool fits = SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) == 1;
    unsigned long code = ERR_peek_error();
    SSL_CTX_set_default_passwd_cb(ctx, NULL);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
    if (is_encrypted)
        return lp_error_set(error, LP_EINVAL,
                            "TLS key \"%s\": is encrypted, and nobody is asked for its password "
                            "(decrypt it: openssl pkey -in KEY -out NEW)",
                            key);
    bool is_x509 = ERR_GET_LIB(code) == ERR_LIB_X509;
    if (fits ? SSL_CTX_check_private_key(ctx) != 1 : is_x509)
        return lp_error_set(error, LP_EINVAL,
                            "TLS key \"%s\": does not belong to the first certificate of \"%s\" "
                            "(give the key that it was made with)",
                            key, chain);
    if (!fits)
        return lp_error_set(error, LP_EINVAL,
                            "TLS key \"%s\": holds no private key in PEM that can be used: %s (it "
                            "must begin with \"-----BEGIN PRIVATE KEY-----\" or like that)",
                            key, reason(code));
    return LP_OK;
}

/* Sessions are resumed by tickets, which the clients keep: nothing grows here. */
static bool configure(SSL_CTX *ctx)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_alpn_select_cb(ctx, select_protocol, NULL);
    SSL_CTX_set_info_callback(ctx, lp__tls_on_info);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(ctx, CIPHERS_OF_TLS12) == 1;
}

int lp_tls_new(const char *chain, const char *key, SSL_CTX **out, lp_error *error)
{
    if (!chain || !*chain || !key || !*key)
        return lp_error_set(error, LP_EINVAL,
                            "TLS: the certificate's chain and its key are both needed (give the "
                            "files of both, in PEM)");
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx || !configure(ctx)) {
        SSL_CTX_free(ctx);
        ERR_clear_error();
        return lp_error_set(error, LP_ENOMEM, "%s", lp_strerror(LP_ENOMEM));
    }
    int status = read_chain(ctx, chain, error);
    if (status == LP_OK)
        status = read_key(ctx, chain, key, error);
    ERR_clear_error();
    if (status == LP_OK)
        *out = ctx;
    else
        SSL_CTX_free(ctx);
    return status;
}
