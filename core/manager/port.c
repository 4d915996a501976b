/* Ports: how they come and go, and what they ask for besides polls (poll.c). See port.h. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "manager_private.h"

/* ---- life --------------------------------------------------------------- */

int lp__port_home(lp_manager *manager, const lp__port_calls *calls, lp__port **out)
{
    lp__port *home = &manager->home;
    if (home->is_drained)
        return LP_ECLOSED;
    if (calls != NULL && !home->has_calls) {
        home->calls = *calls;
        home->has_calls = true;
    }
    *out = home;
    return LP_OK;
}

void lp__port_drained(lp__port *port)
{
    if (port->is_drained)
        return;
    if (port->remote != NULL) {
        lp__remote_drained(port->remote);
        return;
    }
    port->is_draining = false;
    port->is_drained = true;
    lp__manager_wake(port->manager);
}

void lp__port_detach(lp__port *port)
{
    if (port->remote != NULL) {
        lp__remote_detach(port->remote);
        return;
    }
    port->calls = (lp__port_calls){0};
    port->has_calls = false;
    if (port->is_draining)
        lp__port_drained(port);
}

void lp__port_turn(lp__port *port)
{
    if (port->remote != NULL)
        lp__remote_turn(port->remote);
    else
        lp__manager_turn(port->manager);
}

/* ---- what it asks for --------------------------------------------------- */

lp_state lp__port_state(const lp__port *port)
{
    return port->is_drained ? LP_STATE_CLOSED : lp__state(port->manager);
}

void lp__port_log(const lp__port *port, lp_log_level level, const char *format, ...)
{
    if (port->is_drained || port->options->on_log == NULL)
        return;
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    port->options->on_log(port->options->log_ctx, level, line);
}

int lp__port_publish(lp__port *port, const lp_publish_request *request, lp_publish_all_cb done,
                     void *ctx)
{
    if (port->is_drained)
        return LP_ECLOSED;
    return lp__publish_from(port, request, done, ctx);
}

void lp__manager_retrieved(lp_manager *manager, lp__now now, lp_event *const *events, size_t count)
{
    if (manager->engine != NULL)
        lp__engine_retrieved(manager->engine, now, events, count);
}

void lp__port_retrieved(lp__port *port, lp_event *const *events, size_t count)
{
    if (port->remote != NULL)
        lp__remote_retrieved(port->remote, events, count);
    else
        lp__manager_retrieved(port->manager, lp__manager_now(), events, count);
}

int lp__port_report(lp__port *port, lp__report_cb done, void *ctx)
{
    lp__report report;
    if (port->is_drained)
        return LP_ECLOSED;
    if (port->remote != NULL)
        return lp__remote_report(port->remote, done, ctx);
    lp_manager_stats(port->manager, &report.stats, sizeof(report.stats));
    lp_manager_health(port->manager, &report.health);
    done(ctx, &report);
    return LP_OK;
}
