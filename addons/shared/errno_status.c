/* See errno_status.h. */
#include "errno_status.h"

#include <errno.h>

#include <longpoll/status.h>

int lp__status_of_errno(int code)
{
    switch (code) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return LP_ENOSPC;
    case EACCES:
    case EPERM:
    case EROFS:
        return LP_EACCES;
    case ENOMEM:
        return LP_ENOMEM;
    default:
        return LP_EIO;
    }
}
