/* The ports that are away from home, as the home thread sees them: what they have sent is taken in
 * at the beginning of its turn, what there is for them is handed over at the end of it. */
#include "histogram.h"
#include "manager_private.h"

/* ---- what comes from them ------------------------------------------------ */

static void take_new_ports(lp_manager *manager)
{
    if (!atomic_load(&manager->has_new_ports))
        return;
    uv_mutex_lock(&manager->mailbox_mutex);
    lp__remote *fresh = manager->new_ports;
    manager->new_ports = NULL;
    atomic_store(&manager->has_new_ports, false);
    uv_mutex_unlock(&manager->mailbox_mutex);
    while (fresh != NULL) {
        lp__remote *next = fresh->next;
        fresh->next = manager->ports;
        manager->ports = fresh;
        fresh = next;
    }
}

static void handle(lp_manager *manager, lp__remote *remote, lp__message *message, lp__now now)
{
    switch (message->kind) {
    case LP__RETRIEVED:
        lp__retrieved_handle(manager, remote, message, now);
        break;
    case LP__REPORT:
        lp__report_handle(manager, remote, message);
        break;
    case LP__DRAINED:
        remote->has_drained = true;
        break;
    default:
        lp__remote_poll_handle(manager, remote, message, now);
    }
}

/* Its publications wait until the polls of all ports have begun: as at home, they are the last
 * thing of a turn. */
static void collect(lp_manager *manager, lp__remote *remote)
{
    enum { CLOCK_EVERY = 64 };
    if (!atomic_exchange(&remote->mail_at_home, false))
        return;
    lp__mail mail;
    lp__mail_init(&mail);
    uv_mutex_lock(&remote->mutex);
    lp__mail_move(&remote->to_home, &mail);
    remote->is_known_to_have_left = remote->has_left;
    uv_mutex_unlock(&remote->mutex);

    lp__message *message;
    lp__now now = {0, 0, 0};
    for (size_t i = 0; (message = lp__mail_next(&mail)) != NULL; i++) {
        if (i % CLOCK_EVERY == 0)
            now = lp__manager_now();
        handle(manager, remote, message, now);
    }
    remote->accepted += mail.publication_count;
    lp__queue_append(&manager->arrived, &mail.publications);
}

void lp__ports_collect(lp_manager *manager)
{
    take_new_ports(manager);
    for (lp__remote *remote = manager->ports; remote != NULL; remote = remote->next)
        collect(manager, remote);
}

/* ---- what goes to them --------------------------------------------------- */

/* Whether the port is the home thread's now, for it has left. It is woken with the mutex: behind
 * that its loop may be gone. */
static bool hand_over(lp_manager *manager, lp__remote *remote, bool is_done)
{
    uv_mutex_lock(&remote->mutex);
    bool has_left = remote->has_left;
    if (!has_left) {
        bool wakes = lp__mail_is_empty(&remote->to_port) && !lp__mail_is_empty(&remote->out);
        lp__mail_move(&remote->out, &remote->to_port);
        atomic_store(&remote->mail_here, true);
        remote->home_is_done = is_done;
        if (wakes && !remote->is_deaf)
            remote->port.calls.wake(remote->port.calls.ctx);
    }
    if (is_done)
        lp__histogram_merge(&manager->count.delivery_duration, &remote->delivery_duration);
    uv_mutex_unlock(&remote->mutex);
    return has_left;
}

/* Whether it is not to be looked at again: it has said its last word, and nothing that it asked for
 * is under way. Then it goes on by itself, or has left and is freed here. */
static bool send_to(lp_manager *manager, lp__remote *remote)
{
    bool is_done = (remote->has_drained || remote->is_known_to_have_left) && remote->accepted == 0;
    if (lp__mail_is_empty(&remote->out) && !is_done)
        return false;
    if (!hand_over(manager, remote, is_done))
        return is_done;
    lp__remote_work_off(remote, &remote->received);
    lp__remote_work_off(remote, &remote->to_port);
    lp__remote_work_off(remote, &remote->out);
    if (is_done)
        lp__remote_free(remote);
    return is_done;
}

void lp__ports_send(lp_manager *manager)
{
    lp__remote **at = &manager->ports, *remote;
    bool some_are_over = false;
    while ((remote = *at) != NULL) {
        lp__remote *next = remote->next;
        if (!send_to(manager, remote)) {
            at = &remote->next;
            continue;
        }
        *at = next;
        some_are_over = true;
    }
    if (some_are_over && manager->ending != RUNNING)
        lp__manager_soon(manager); /* the end waits for them */
}

/* ---- all of them --------------------------------------------------------- */

void lp__ports_drain(lp_manager *manager)
{
    take_new_ports(manager);
    for (lp__remote *remote = manager->ports; remote != NULL; remote = remote->next)
        lp__mail_add(&remote->out, &remote->drain, LP__DRAIN);
}

static bool says_it_is_writing(lp__remote *remote)
{
    const lp__port_calls *calls = &remote->port.calls;
    uv_mutex_lock(&remote->mutex);
    bool is_writing =
        !remote->is_deaf && calls->is_writing != NULL && calls->is_writing(calls->ctx);
    uv_mutex_unlock(&remote->mutex);
    return is_writing;
}

/* An answer is in flight, then being written, then what the port says of that is in flight. */
bool lp__ports_are_writing(const lp_manager *manager)
{
    for (lp__remote *remote = manager->ports; remote != NULL; remote = remote->next)
        if (atomic_load(&remote->in_flight) > 0 || says_it_is_writing(remote) ||
            atomic_load(&remote->in_flight) > 0)
            return true;
    return false;
}

void lp__ports_add_deliveries(const lp_manager *manager, lp_histogram *durations)
{
    for (lp__remote *remote = manager->ports; remote != NULL; remote = remote->next) {
        uv_mutex_lock(&remote->mutex);
        lp__histogram_merge(durations, &remote->delivery_duration);
        uv_mutex_unlock(&remote->mutex);
    }
}
