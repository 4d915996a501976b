/* Status codes: what every fallible function of the library returns.
 *
 * Zero is success, a negative value is an error, a positive value is a success that says more. The
 * list below is the only place where a code, its name and its text are written. */
#ifndef LONGPOLL_STATUS_H
#define LONGPOLL_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LP_API                        __attribute__((visibility("default")))
#define LP_PRINTF(format_at, args_at) __attribute__((format(printf, format_at, args_at)))
#else
#define LP_API
#define LP_PRINTF(format_at, args_at)
#endif

/* X(name, value, text) */
#define LP_STATUS_MAP(X)                                                                           \
    X(SKIPPED, 1, "passed over, go on")                                                            \
    X(OK, 0, "success")                                                                            \
    X(EINVAL, -1, "invalid argument")                                                              \
    X(ENOMEM, -2, "out of memory")                                                                 \
    X(ETOOBIG, -3, "larger than its bound")                                                        \
    X(EFULL, -4, "a bound is reached, try again later")                                            \
    X(ESTARTING, -5, "the store is still being replayed")                                          \
    X(ECLOSED, -6, "shut down, or shutting down")                                                  \
    X(ECANCELED, -7, "canceled")                                                                   \
    X(EDEADLINE, -8, "the deadline has passed")                                                    \
    X(EIO, -9, "input/output error")                                                               \
    X(ENOSPC, -10, "no space left on the device")                                                  \
    X(EACCES, -11, "permission denied")                                                            \
    X(EINUSE, -12, "in use by another process")                                                    \
    X(EVERSION, -13, "unknown version")                                                            \
    X(EDAMAGED, -14, "damaged")                                                                    \
    X(EINDOUBT, -15, "a failed commit could not be undone, restart to go on")                      \
    X(ENOTFOUND, -16, "not found")                                                                 \
    X(EORDER, -17, "out of order")                                                                 \
    X(ECONFLICT, -18, "the idempotency key was used for another body")

typedef enum lp_status {
#define LP_STATUS_ENUM(name, value, text) LP_##name = (value),
    LP_STATUS_MAP(LP_STATUS_ENUM)
#undef LP_STATUS_ENUM
} lp_status;

/* The text of a status, "unknown status" for a number that is none. Static, any thread. */
LP_API const char *lp_strerror(int status);

/* The name of a status without its prefix ("ENOSPC"), "UNKNOWN" for a number that is none. */
LP_API const char *lp_status_name(int status);

/* A status with the sentence that explains it: what, why, and what to do. Filled by functions that
 * take a `lp_error *`; the pointer may be NULL when only the returned status is wanted. */
typedef struct lp_error {
    int status;
    char message[512];
} lp_error;

/* Fills `error` (may be NULL) and returns `status`, so that a function can end with it. */
LP_API int lp_error_set(lp_error *error, int status, const char *format, ...) LP_PRINTF(3, 4);

#ifdef __cplusplus
}
#endif
#endif
