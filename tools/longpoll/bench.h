/* `longpoll bench`: figures of servers and stores, beside references of the same run. Main thread.
 */
#ifndef TOOL_BENCH_H
#define TOOL_BENCH_H

#include "command.h"

extern const command bench_commands[];

int bench_publish(const command *self, int count, char **words);
int bench_hold(const command *self, int count, char **words);
int bench_latency(const command *self, int count, char **words);
int bench_sse(const command *self, int count, char **words);
int bench_catch_up(const command *self, int count, char **words);
int bench_responder(const command *self, int count, char **words);

#endif
