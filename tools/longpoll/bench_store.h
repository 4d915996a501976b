/* The modes of `longpoll bench` that need no server: a store by itself, and a manager within this
 * process. Main thread. */
#ifndef TOOL_BENCH_STORE_H
#define TOOL_BENCH_STORE_H

#include "command.h"

int bench_store(const command *self, int count, char **words);
int bench_in_process(const command *self, int count, char **words);

#endif
