#include "client/hooks.h"
#include "client/io.h"
#include "client/got.h"
#include "client/guard.h"
#include "client/ranges.h"
#include <errno.h>
#include <string.h>

/* Any other call fails as the system says, and what the system says names the way out. */
static char *describe(int error) {
    static char fault[] =
        "Bad address (shared memory of dsmproc can be given to calls on files and "
        "sockets only: give others a copy, or see `dsmproc doctor`)";
    return error == EFAULT ? fault : strerror(error);
}

#define HOOK(name, function)                                                                       \
    { name, (void (*)(void))(function) }

static const struct dsm_hook hooks[] = {
    HOOK("read", dsm_io_read),         HOOK("write", dsm_io_write),
    HOOK("pread", dsm_io_pread),       HOOK("pread64", dsm_io_pread),
    HOOK("pwrite", dsm_io_pwrite),     HOOK("pwrite64", dsm_io_pwrite),
    HOOK("readv", dsm_io_readv),       HOOK("writev", dsm_io_writev),
    HOOK("preadv", dsm_io_preadv),     HOOK("preadv64", dsm_io_preadv),
    HOOK("pwritev", dsm_io_pwritev),   HOOK("pwritev64", dsm_io_pwritev),
    HOOK("preadv2", dsm_io_preadv2),   HOOK("preadv64v2", dsm_io_preadv2),
    HOOK("pwritev2", dsm_io_pwritev2), HOOK("pwritev64v2", dsm_io_pwritev2),
    HOOK("recv", dsm_io_recv),         HOOK("recvfrom", dsm_io_recvfrom),
    HOOK("recvmsg", dsm_io_recvmsg),   HOOK("send", dsm_io_send),
    HOOK("sendto", dsm_io_sendto),     HOOK("sendmsg", dsm_io_sendmsg),
    HOOK("fread", dsm_stream_read),    HOOK("fread_unlocked", dsm_stream_read_unlocked),
    HOOK("fwrite", dsm_stream_write),  HOOK("fwrite_unlocked", dsm_stream_write_unlocked),
    HOOK("fputs", dsm_stream_puts),    HOOK("fputs_unlocked", dsm_stream_puts_unlocked),
    HOOK("strerror", describe),        HOOK("dlsym", dsm_got_dlsym),
};

int dsm_hooks_cover(const void *start, uint64_t bytes) {
    dsm_guard_arm();
    dsm_got_redirect(hooks, sizeof hooks / sizeof *hooks);
    return dsm_ranges_add(start, bytes);
}

void dsm_hooks_uncover(const void *start) {
    dsm_ranges_remove(start);
}
