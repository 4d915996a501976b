/* What a failed file call means to whoever publishes. Any thread. */
#ifndef LP_SHARED_ERRNO_STATUS_H
#define LP_SHARED_ERRNO_STATUS_H

/* LP_ENOSPC (also a quota or a limit on file size), LP_EACCES, LP_ENOMEM or LP_EIO. */
int lp__status_of_errno(int code);

#endif
