/* What libh2o leaves to be done, in both flavours: to the sockets of requests, and to the memory of
 * threads. */
#include "flavour.h"

#include <stdlib.h>
#include <sys/socket.h>

int lp__socket_of(h2o_req_t *req)
{
    h2o_socket_t *socket = req->conn->callbacks->get_socket(req->conn);
    return socket ? h2o_socket_get_fd(socket) : -1;
}

void lp__socket_abort(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    shutdown(fd, SHUT_RDWR);
}

void lp__request_drop(h2o_req_t *req)
{
    h2o_generator_t *nothing = h2o_mem_alloc_pool(&req->pool, sizeof(*nothing));
    *nothing = (h2o_generator_t){NULL, NULL};
    req->http1_is_persistent = 0;
    req->res.status = 400;
    req->res.reason = "Bad Request";
    h2o_start_response(req, nothing);
    h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
}

/* Chunks of pools are behind a static variable of libh2o's: they are taken into a pool of ours. A
 * chunk has room for four of the largest pieces, and begins with a pointer to the next. */
static void free_chunks_of_pools(void)
{
    enum { CACHED_MAX = 16, PIECES = 4, PIECE = 1008 };
    h2o_mem_pool_t pool;
    h2o_mem_init_pool(&pool);
    for (int i = 0; i < CACHED_MAX * PIECES; i++)
        h2o_mem_alloc_pool(&pool, PIECE);
    void *next, *chunk = pool.chunks;
    for (; chunk; chunk = next) {
        next = *(void **)chunk;
        free(chunk);
    }
}

void lp__libh2o_end_thread(void)
{
    h2o_mem_recycle_t *buffers = &h2o_socket_buffer_prototype.allocator;
    while (buffers->cnt > 0)
        free(h2o_mem_alloc_recycle(buffers, 1));
    free_chunks_of_pools();
}
