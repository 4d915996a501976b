/* The trivial responder: the least that any server of this wire must do on this machine, so that
 * figures of others can be read as ratios to it. One thread, one epoll instance, no rules: it reads
 * a request, answers a publish with fixed bytes, and keeps the events of the last category that was
 * published to in one ring. A poll is answered what the ring has behind its cursor, or parked until
 * the next publish, whatever its category. In clear, on 127.0.0.1. */
#ifndef TOOL_BENCH_RESPONDER_H
#define TOOL_BENCH_RESPONDER_H

#include <stdint.h>

#include <sys/types.h>

/* Timestamps of its events count up from here: cursors of the past and of the future are told apart
 * by this. */
#define RESPONDER_EPOCH INT64_C(1000000)

/* Starts it as a process of its own, which ends with this one. Fails (load_figures.h) when it
 * cannot be started. */
pid_t responder_start(long ring, uint16_t *port);

#endif
