/* Pages of other origins: which of them may publish, and the headers by which browsers let pages
 * read answers (CORS, https://fetch.spec.whatwg.org/#http-cors-protocol). Any thread.
 *
 * An origin is "scheme://host[:port]" (RFC 6454, 6.2). Browsers send it in lower case and without a
 * default port; lists are brought into that form when they are read. */
#include "inside.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* ---- the list ---------------------------------------------------------- */

static size_t scheme_length(const char *text)
{
    size_t len = 0;
    while (isalnum((unsigned char)text[len]) || (len && text[len] && strchr("+-.", text[len])))
        len++;
    return len && isalpha((unsigned char)text[0]) ? len : 0;
}

/* The length of "host" or "[address]", 0 when it is none. */
static size_t host_length(const char *text)
{
    size_t len = 0;
    if (text[0] == '[') {
        len = 1 + strspn(text + 1, "0123456789abcdefABCDEF:.");
        return len > 1 && text[len] == ']' ? len + 1 : 0;
    }
    while (isalnum((unsigned char)text[len]) || (text[len] && strchr("-._~", text[len])))
        len++;
    return len;
}

static bool is_port(const char *text)
{
    size_t len = strspn(text, "0123456789");
    return len >= 1 && len <= 5 && !text[len] && atoi(text) >= 1 && atoi(text) <= 65535;
}

/* Why a text is no origin; NULL when it is one. */
static const char *fault_of(const char *text)
{
    size_t scheme = scheme_length(text);
    if (strcasecmp(text, "null") == 0)
        return "any page can have this origin, so it cannot be allowed alone (allow \"*\", or "
               "leave it out)";
    if (!scheme || strncmp(text + scheme, "://", 3) != 0)
        return "it does not begin with a scheme (write https://host or https://host:port)";
    const char *host = text + scheme + 3;
    if (strchr(host, '*'))
        return "patterns are not known (list each origin, or \"*\" for any)";
    if (strpbrk(host, "/?#@"))
        return "it goes on behind the host and port (write https://host:port and nothing more)";
    size_t len = host_length(host);
    if (!len || (host[len] && host[len] != ':'))
        return "its host cannot be read (write it as browsers send it, in ASCII)";
    if (host[len] && !is_port(host + len + 1))
        return "its port is not a number of 1 to 65535";
    return NULL;
}

static void normalize(char *origin)
{
    static const char *const defaults[][2] = {{"http://", ":80"}, {"https://", ":443"}};
    for (char *at = origin; *at; at++)
        *at = (char)tolower((unsigned char)*at);
    for (size_t i = 0; i < 2; i++) {
        size_t len = strlen(origin), port = strlen(defaults[i][1]);
        if (strncmp(origin, defaults[i][0], strlen(defaults[i][0])) == 0 &&
            strcmp(origin + len - port, defaults[i][1]) == 0)
            origin[len - port] = '\0';
    }
}

static int read_origin(const char *text, lp__origins *out, lp_error *error)
{
    if (!text)
        return lp_error_set(error, LP_EINVAL, "cors_origins: entry %zu is NULL", out->count);
    if (strcmp(text, "*") == 0) {
        out->any = true;
        return LP_OK;
    }
    const char *fault = fault_of(text);
    if (fault)
        return lp_error_set(error, LP_EINVAL, "cors_origins: \"%s\": %s", text, fault);
    char *copy = strdup(text);
    if (!copy)
        return lp_error_set(error, LP_ENOMEM, "%s", lp_strerror(LP_ENOMEM));
    normalize(copy);
    out->list[out->count++] = copy;
    return LP_OK;
}

int lp__origins_read(const char *const *texts, size_t count, lp__origins *out, lp_error *error)
{
    *out = (lp__origins){0};
    if (!count)
        return LP_OK;
    if (!texts)
        return lp_error_set(error, LP_EINVAL,
                            "cors_origins: NULL, but cors_origin_count is %zu (give the list, or "
                            "0)",
                            count);
    out->list = calloc(count, sizeof(*out->list));
    if (!out->list)
        return lp_error_set(error, LP_ENOMEM, "%s", lp_strerror(LP_ENOMEM));
    int status = LP_OK;
    for (size_t i = 0; i < count && status == LP_OK; i++)
        status = read_origin(texts[i], out, error);
    if (status != LP_OK)
        lp__origins_free(out);
    return status;
}

void lp__origins_free(lp__origins *origins)
{
    for (size_t i = 0; i < origins->count; i++)
        free(origins->list[i]);
    free(origins->list);
    *origins = (lp__origins){0};
}

static bool is_listed(const lp__origins *origins, h2o_iovec_t origin)
{
    if (origins->any)
        return true;
    for (size_t i = 0; i < origins->count; i++)
        if (strlen(origins->list[i]) == origin.len &&
            strncasecmp(origins->list[i], origin.base, origin.len) == 0)
            return true;
    return false;
}

/* ---- pages of strangers ------------------------------------------------ */

static h2o_iovec_t without_port(h2o_iovec_t host, const char *port)
{
    size_t len = strlen(port);
    if (host.len > len && memcmp(host.base + host.len - len, port, len) == 0)
        host.len -= len;
    return host;
}

/* Whether a page at `origin` is served by the host that the request names. "null", what cannot be
 * read, and a request without a host are not. In clear the page may be of https all the same: a
 * proxy in front speaks TLS then. Under TLS it is not of http. */
static bool is_own(h2o_iovec_t origin, const h2o_req_t *req)
{
    const char *port = ":80";
    if (origin.len > 7 && h2o_lcstris(origin.base, 7, H2O_STRLIT("http://")) &&
        req->input.scheme != &H2O_URL_SCHEME_HTTPS) {
        origin = h2o_iovec_init(origin.base + 7, origin.len - 7);
    } else if (origin.len > 8 && h2o_lcstris(origin.base, 8, H2O_STRLIT("https://"))) {
        origin = h2o_iovec_init(origin.base + 8, origin.len - 8);
        port = ":443";
    } else {
        return false;
    }
    h2o_iovec_t host = without_port(req->input.authority, port);
    origin = without_port(origin, port);
    return origin.len && origin.len == host.len &&
           strncasecmp(origin.base, host.base, host.len) == 0;
}

bool lp__origin_is_foreign(const lp__origins *origins, const h2o_req_t *req)
{
    ssize_t at = -1;
    while ((at = h2o_find_header_by_str(&req->headers, H2O_STRLIT("origin"), at)) != -1) {
        h2o_iovec_t origin = req->headers.entries[at].value;
        if (!is_own(origin, req) && !is_listed(origins, origin))
            return true;
    }
    return false;
}

/* ---- CORS -------------------------------------------------------------- */

#define LITERAL(text)                                                                              \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }

static const lp__wire_header vary = {LITERAL("Vary"), LITERAL("vary"), LITERAL("Origin")};
static const lp__wire_header readable = {LITERAL("Access-Control-Expose-Headers"),
                                         LITERAL("access-control-expose-headers"),
                                         LITERAL("Retry-After, Preference-Applied")};
static const lp__wire_header sendable = {
    LITERAL("Access-Control-Allow-Headers"), LITERAL("access-control-allow-headers"),
    LITERAL("Content-Type, Idempotency-Key, Prefer, Last-Event-ID, Cache-Control")};
static const lp__wire_header max_age = {LITERAL("Access-Control-Max-Age"),
                                        LITERAL("access-control-max-age"), LITERAL("600")};

void lp__origin_add_headers(const lp__origins *origins, h2o_req_t *req, const char *methods)
{
    if (!origins->count && !origins->any)
        return;
    lp__add_header(req, &vary);
    ssize_t at = h2o_find_header_by_str(&req->headers, H2O_STRLIT("origin"), -1);
    if (at == -1 || !is_listed(origins, req->headers.entries[at].value) ||
        h2o_find_header_by_str(&req->headers, H2O_STRLIT("origin"), at) != -1)
        return;
    h2o_iovec_t origin = req->headers.entries[at].value;
    lp_str allowed = origins->any ? lp_str_of("*") : (lp_str){origin.base, origin.len};
    lp__add_header(req, &(lp__wire_header){LITERAL("Access-Control-Allow-Origin"),
                                           LITERAL("access-control-allow-origin"), allowed});
    at = h2o_find_header_by_str(&req->headers, H2O_STRLIT("access-control-request-method"), -1);
    if (!lp__method_is(req, "OPTIONS") || at == -1 || !methods) {
        lp__add_header(req, &readable);
        return;
    }
    lp__add_header(req,
                   &(lp__wire_header){LITERAL("Access-Control-Allow-Methods"),
                                      LITERAL("access-control-allow-methods"), lp_str_of(methods)});
    lp__add_header(req, &sendable);
    lp__add_header(req, &max_age);
}
