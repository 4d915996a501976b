/* What server.c and server_unit.c share: a server, and what it has on one of its loops. */
#ifndef LP_HTTP_SERVER_H
#define LP_HTTP_SERVER_H

#include "inside.h"

/* A server's part on one loop. Everything but what is marked belongs to the loop's thread. */
typedef struct lp__unit {
    lp_server *server;
    size_t index; /* 0: on the home loop */
    h2o_loop_t *loop;
    lp__http *http;
    lp__listener *listener;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
    lp__timer *timer; /* while it stops */
    lp__alarm *alarm; /* any thread; NULL at home */
    uint64_t deadline_ms, failure_logged_ms;
    bool stopping, is_empty, was_cut;
    bool is_over; /* nothing of it is left on the loop */

    uint64_t connections; /* written by the loop's thread alone, read by any */

    /* Behind the server's mutex: what the loop is to be told. */
    bool is_told_to_stop;
    SSL_CTX *next_tls; /* NULL: none */

    /* Of units with a thread of their own; the home thread's. */
    pthread_t thread;
    bool has_thread;
} lp__unit;

struct lp_server {
    lp__site *site;
    lp_server_options options; /* its texts are valid while it starts */
    char address[64];          /* where all listen: what was asked for, with the port that it got */
    SSL_CTX *tls;              /* while it starts */
    h2o_globalconf_t config;   /* of all contexts, which do not change it */
    char *tls_chain, *tls_key; /* to be read again; NULL in clear */
    int port;
    bool stopping;
    int64_t stop_timeout_ms;
    void (*done)(void *ctx);
    void *ctx;

    pthread_mutex_t mutex;
    pthread_cond_t started; /* a unit says how its start has ended */
    int start_status;       /* behind the mutex, and so is the error; -1 while it is starting */
    lp_error start_error;
    atomic_size_t running; /* units with a thread that have not ended */
    lp__alarm *alarm;      /* of the home loop: one of them has; NULL without threads */
    size_t unit_count;
    lp__unit units[];
};

/* Opens the unit of the home loop, or runs one on a thread of its own until it has started. The
 * first listens first. The statuses of lp_server_start. */
int lp__unit_open(lp__unit *unit, h2o_loop_t *loop, lp_error *error);
int lp__unit_run(lp__unit *unit, lp_error *error);
/* Stops it: `timeout_ms` from now on it cuts what is left. On the unit's thread. When nothing of it
 * is left on its loop, the home unit (which waits for the others) ends the server. */
void lp__unit_stop(lp__unit *unit, int64_t timeout_ms);
/* The same for one with a thread of its own, and another certificate; home thread. */
void lp__unit_tell(lp__unit *unit, SSL_CTX *next_tls, bool stop);
/* Others have ended: the home unit looks whether it may. */
void lp__unit_look_again(lp__unit *home);

/* The home unit is gone from its loop: frees the server. */
void lp__server_end(lp_server *server);

#endif
