/* `longpoll store`: looking at stores, and moving events between them. Each command goes through
 * <longpoll/store.h>, so none knows what kind of store it has before it. Main thread. */
#ifndef TOOL_STORE_H
#define TOOL_STORE_H

#include "command.h"

extern const command store_commands[];

int store_info(const command *self, int count, char **words);
int store_verify(const command *self, int count, char **words);
int store_dump(const command *self, int count, char **words);
int store_load(const command *self, int count, char **words);
int store_copy(const command *self, int count, char **words);
int store_compact(const command *self, int count, char **words);

#endif
