/* TLS as clients meet it: versions, protocols, the wire over it, the certificate and its reload. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tls_client.h"

#define PUBLISH(len) "POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: " len "\r\n\r\n"

static lp_http_figures figures(void)
{
    lp_http_figures out;
    lp_http_stats(h.manager, &out, sizeof(out));
    return out;
}

static void is_served(const tls_wish *wish)
{
    tls_conn *reader, *writer;
    tls_start(NULL);
    reader = tls_connect(wish);
    writer = tls_connect(wish);
    cr_assert(reader->ssl && writer->ssl);
    cr_expect_eq(SSL_version(reader->ssl), wish->version);
    for (int i = 0; i < 3; i++) { /* on the same connections */
        tls_send_poll(reader, "c", "");
        cr_assert(harness_waiters_are(1));
        tls_send(writer, PUBLISH("25") "{\"category\":\"c\",\"data\":1}");
        tls_expect(writer, 200, "{\"success\": true}");
        tls_expect(reader, 200, "\"data\":1");
    }
    cr_expect_eq(figures().connections, 2);
    tls_close(reader);
    tls_close(writer);
    cr_expect(harness_connections_are(0));
    cr_expect_eq(figures().connections, 0);
    cr_expect_eq(figures().tls_failures, 0);
    tls_stop();
}

Test(tls_serving, polls_and_publishes_over_1_2)
{
    is_served(&(tls_wish){.version = TLS1_2_VERSION});
}

Test(tls_serving, polls_and_publishes_over_1_3)
{
    is_served(&(tls_wish){.version = TLS1_3_VERSION, .alpn = "\x02h2\x08http/1.1"});
}

Test(tls_serving, requests_that_are_sent_ahead_are_answered_in_their_order)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    tls_start(NULL);
    for (int v = 0; v < 2; v++) {
        tls_conn *conn = tls_connect(&(tls_wish){.version = versions[v]});
        char request[64];
        for (int i = 0; i < 20; i++) { /* one record each, all in one segment */
            snprintf(request, sizeof(request), "GET /nothing%d HTTP/1.1\r\nHost: h\r\n\r\n", i);
            tls_write(conn, request, strlen(request));
            tls_write(conn, PUBLISH("25"), strlen(PUBLISH("25")));
            tls_write(conn, "{\"category\":\"c\",\"data\":1}", 25);
        }
        tls_flush(conn);
        for (int i = 0; i < 20; i++) {
            tls_expect(conn, 404, "not found");
            tls_expect(conn, 200, "success");
        }
        tls_close(conn);
    }
    tls_stop();
}

static void is_refused(const tls_wish *wish, int description)
{
    tls_start(NULL);
    tls_conn *conn = tls_connect(wish);
    cr_expect_null(conn->ssl);
    cr_expect_eq(conn->alert, SSL3_AL_FATAL << 8 | description, "alert %d", conn->alert);
    tls_free(conn);
    cr_expect(harness_connections_are(0));
    cr_expect_eq(figures().tls_failures, 1);
    tls_stop();
}

Test(tls_serving, tls_1_1_is_refused_and_told_why)
{
    is_refused(&(tls_wish){.version = TLS1_1_VERSION}, SSL_AD_PROTOCOL_VERSION);
}

Test(tls_serving, a_client_of_http_2_alone_is_refused_and_told_why)
{
    is_refused(&(tls_wish){.alpn = "\x02h2"}, SSL_AD_NO_APPLICATION_PROTOCOL);
}

Test(tls_serving, http_1_1_is_chosen_among_several)
{
    tls_start(NULL);
    tls_conn *conn = tls_connect(&(tls_wish){.alpn = "\x02h2\x08http/1.1"});
    const unsigned char *chosen;
    unsigned len;
    cr_assert(conn->ssl);
    SSL_get0_alpn_selected(conn->ssl, &chosen, &len);
    cr_expect(len == 8 && memcmp(chosen, "http/1.1", 8) == 0);
    tls_close(conn);
    tls_stop();
}

Test(tls_serving, plain_http_is_told_to_use_https)
{
    tls_start(NULL);
    raw_answer answer = harness_ask("GET /events?timeout=1&category=c HTTP/1.1\r\nHost: h\r\n\r\n");
    cr_expect_eq(answer.status, 400);
    cr_expect(strstr(answer.body, "https://"), "%s", answer.body);
    raw_free(&answer);
    cr_expect(harness_connections_are(0));
    tls_stop();
}

/* libh2o alone closes a connection when a read fills its buffer of 8,192 bytes, or what is left of
 * it, to the brim, and no more is there at the moment. */
Test(tls_serving, a_request_may_come_in_pieces_of_any_size)
{
    enum { BODY = 40000 };
    static char body[BODY + 1];
    tls_start(NULL);
    int len = snprintf(body, sizeof(body), "{\"category\":\"c\",\"data\":\"");
    memset(body + len, 'x', (size_t)(BODY - len));
    memcpy(body + BODY - 2, "\"}", 3);
    static const size_t pieces[] = {8192,      8192 - 5, 8192 + 5, 4096, 16384,
                                    16384 - 5, 1,        5,        6,    4091};
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        tls_conn *conn = tls_connect(NULL);
        tls_send(conn, PUBLISH("40000"));
        harness_turn(2);
        tls_write(conn, body, BODY);
        int steps = pieces[i] < 100 ? 200 : INT32_MAX; /* byte by byte takes long: the beginning */
        while (!conn->ended && steps-- && tls_flush_some(conn, pieces[i]))
            harness_turn(1);
        cr_expect(tls_flush(conn), "piece %zu", pieces[i]);
        tls_expect(conn, 200, "success");
        tls_close(conn);
    }
    tls_stop();
}

/* ---- the certificate --------------------------------------------------- */

Test(tls_serving, a_reload_is_for_new_connections_and_leaves_the_others_alone)
{
    char name[64];
    lp_error error;
    tls_start(NULL);
    tls_conn *silent = tls_connect_only(NULL); /* its handshake comes after the reload */
    tls_conn *old = tls_connect(NULL), *parked = tls_connect(NULL);
    tls_send_poll(parked, "c", "");
    cr_assert(harness_waiters_are(1));
    tls_files_write(&tls_server, "second");
    cr_assert_eq(lp_server_reload_tls(h.server, &error), LP_OK, "%s", error.message);

    tls_conn *new = tls_connect(NULL);
    cr_assert(new->ssl);
    tls_peer_name(new, name, sizeof(name));
    cr_expect_str_eq(name, "second");
    cr_expect(tls_handshake(silent));
    tls_send(silent, "GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
    tls_expect(silent, 200, "serving");
    tls_send(old, PUBLISH("25") "{\"category\":\"c\",\"data\":1}");
    tls_expect(old, 200, "success");
    tls_expect(parked, 200, "\"data\":1");
    tls_close(silent);
    tls_close(old);
    tls_close(parked);
    tls_close(new);
    tls_stop();
}

Test(tls_serving, a_reload_that_fails_leaves_the_certificate_in_use)
{
    char name[64];
    lp_error error;
    tls_start(NULL);
    FILE *file = fopen(tls_server.chain, "w");
    cr_assert(file);
    fputs("no certificate\n", file);
    fclose(file);
    cr_expect_eq(lp_server_reload_tls(h.server, &error), LP_EINVAL);
    cr_expect(strstr(error.message, tls_server.chain), "%s", error.message);
    tls_conn *conn = tls_connect(NULL);
    tls_peer_name(conn, name, sizeof(name));
    cr_expect_str_eq(name, "first");
    tls_close(conn);
    tls_stop();
}

Test(tls_serving, a_server_in_clear_has_nothing_to_reload)
{
    lp_error error;
    harness_start(NULL);
    cr_expect_eq(lp_server_reload_tls(h.server, &error), LP_EINVAL);
    harness_stop();
}

static void is_bad(const char *chain, const char *key, const char *file, const char *word)
{
    lp_error error = {0};
    SSL_CTX *ctx = NULL;
    cr_expect_eq(lp_tls_new(chain, key, &ctx, &error), LP_EINVAL);
    cr_expect_null(ctx);
    cr_expect(strstr(error.message, file) && strstr(error.message, word), "%s, not %s: %s", file,
              word, error.message);
    cr_expect_eq(ERR_peek_error(), 0); /* nothing is left for the host program to stumble over */
}

static void encrypt_key(const tls_files *files)
{
    FILE *file = fopen(files->key, "r");
    EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    char password[] = "secret";
    fclose(file);
    file = fopen(files->key, "w");
    cr_assert(PEM_write_PKCS8PrivateKey(file, key, EVP_aes_128_cbc(), password, 6, NULL, NULL));
    fclose(file);
    EVP_PKEY_free(key);
}

Test(tls_files, what_is_wrong_with_one_is_said)
{
    tls_files one, other;
    tls_files_make(&one);
    tls_files_make(&other);
    tls_files_write(&one, "one");
    tls_files_write(&other, "other");
    SSL_CTX *ctx;
    lp_error error;
    cr_assert_eq(lp_tls_new(one.chain, one.key, &ctx, &error), LP_OK, "%s", error.message);
    SSL_CTX_free(ctx);

    is_bad(one.chain, other.key, other.key, "does not belong");
    is_bad(one.chain, one.chain, one.chain, "no private key");
    is_bad(one.key, one.key, one.key, "no certificate in PEM");
    is_bad("/nowhere/chain.pem", one.key, "/nowhere/chain.pem", "No such file");
    is_bad(one.chain, "/nowhere/key.pem", "/nowhere/key.pem", "No such file");
    is_bad(one.directory, one.key, one.directory, "directory");
    is_bad(one.chain, NULL, "key", "needed");
    is_bad("", one.key, "chain", "needed");
    encrypt_key(&other);
    is_bad(other.chain, other.key, other.key, "encrypted");
    cr_assert_eq(truncate(other.key, 0), 0);
    is_bad(other.chain, other.key, other.key, "empty");
    tls_files_remove(&one);
    tls_files_remove(&other);
}

Test(tls_files, a_server_does_not_start_without_them)
{
    lp_error error;
    lp_server *server = NULL;
    lp_server_options options = LP_SERVER_OPTIONS_INIT;
    harness_start_manager(&(lp_manager_options)LP_MANAGER_OPTIONS_INIT);
    options.listen = "127.0.0.1:0";
    options.tls_chain = "/nowhere/chain.pem";
    cr_expect_eq(lp_server_start(h.manager, &options, &server, &error), LP_EINVAL);
    options.tls_key = "/nowhere/key.pem";
    cr_expect_eq(lp_server_start(h.manager, &options, &server, &error), LP_EINVAL);
    cr_expect(strstr(error.message, "/nowhere/chain.pem"), "%s", error.message);
    cr_expect_null(server);
    harness_stop();
}
