/* What the files behind loop.h that serve both flavours ask of the one that they are built for.
 * Everything belongs to the thread of its loop; nothing calls back before it has returned. */
#ifndef LP_HTTP_FLAVOUR_H
#define LP_HTTP_FLAVOUR_H

#include "loop.h"

/* Frees what libh2o keeps for a thread's next requests: the thread is about to end. */
void lp__libh2o_end_thread(void);

/* Tells that a descriptor can be read from, in each turn in which it can. Keeps no loop alive. */
typedef struct lp__readable lp__readable;

/* The descriptor is the handle's when this has succeeded, and closed with it. LP_ENOMEM, LP_EFULL.
 */
int lp__readable_open(h2o_loop_t *loop, int fd, void (*ready)(void *ctx), void *ctx,
                      lp__readable **out);
/* It keeps its loop alive from now on. */
void lp__readable_hold(lp__readable *readable);
/* Tells nothing for a while. */
void lp__readable_pause(lp__readable *readable, bool is_paused);
void lp__readable_close(lp__readable *readable, void (*closed)(void *ctx), void *ctx);

/* The watches of a loop that can be asked whether a socket has become readable, which libh2o does
 * not read from now: lp__watch_readable is then called, in each turn in which it is, and nothing is
 * read. NULL: this loop cannot. */
lp__list *lp__loop_watches(h2o_loop_t *loop);
void lp__socket_watch(h2o_socket_t *socket);
void lp__socket_unwatch(h2o_socket_t *socket);
void lp__watch_readable(h2o_socket_t *socket); /* watch.c */

/* The listening socket that a listener's options ask for: LP_EINVAL, LP_EINUSE, LP_EACCES,
 * LP_ENOMEM with a sentence. The caller closes it. And the port that it got. */
int lp__listen(const lp__listener_options *options, int *fd, lp_error *error);
int lp__listen_port(int fd);

#endif
