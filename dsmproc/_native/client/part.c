/* Parting from a lost host. Its machine may be stopped or unreachable, so nobody closes the
 * connections to it, and threads of this process wait in poll, recv or send for ever. shutdown()
 * wakes them all. Which descriptors those are is asked of the kernel, so that nothing must be kept.
 *
 * The handler runs in any thread, in the middle of anything: only system calls here.
 */
#include "core/core.h"
#include "include/dsmproc_api.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NAMES = 4096, WITHOUT_LIST = 4096 };

/* What a signal handler needs cannot be handed to it. */
static _Atomic int news = -1;
static _Atomic uint64_t parted[DSM_MAX_HOSTS / 64]; /* bit set of hosts */
static struct sigaction before;

struct entry { /* what getdents64 writes */
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
};

static void part_one(int fd, const struct dsmproc_lost *lost) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_storage room;
    } peer;
    socklen_t len = sizeof peer;
    if (getpeername(fd, &peer.any, &len) < 0) return;
    const void *bytes, *port;
    if (peer.any.sa_family == AF_INET && lost->length == 4) {
        bytes = &peer.v4.sin_addr;
        port = &peer.v4.sin_port;
    } else if (peer.any.sa_family == AF_INET6 && lost->length == 16) {
        bytes = &peer.v6.sin6_addr;
        port = &peer.v6.sin6_port;
    } else {
        return;
    }
    if (!memcmp(bytes, lost->bytes, lost->length) && !memcmp(port, lost->port, 2))
        shutdown(fd, SHUT_RDWR);
}

static int number(const char *name) {
    int value = 0;
    if (*name < '0' || *name > '9') return -1;
    while (*name >= '0' && *name <= '9')
        value = value * 10 + (*name++ - '0');
    return value;
}

void dsmproc_part(const struct dsmproc_lost *lost) {
    atomic_fetch_or(&parted[lost->host / 64], UINT64_C(1) << lost->host % 64);
    int list = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (list < 0) { /* no descriptor is free: the lower ones, which are those of long waits */
        for (int fd = 0; fd < WITHOUT_LIST; fd++)
            part_one(fd, lost);
        return;
    }
    union {
        char bytes[NAMES];
        struct entry align;
    } names;
    long got;
    while ((got = syscall(SYS_getdents64, list, names.bytes, sizeof names.bytes)) > 0)
        for (long at = 0; at < got;) {
            struct entry *entry = (void *)(names.bytes + at);
            int fd = number(entry->name);
            if (fd >= 0 && fd != list) part_one(fd, lost);
            at += entry->length;
        }
    close(list);
}

int dsmproc_has_parted(int host) {
    return host >= 0 && host < DSM_MAX_HOSTS && atomic_load(&parted[host / 64]) >> host % 64 & 1;
}

static void take_news(void) {
    struct dsmproc_lost lost;
    int fd = atomic_load(&news);
    while (fd >= 0 && recv(fd, &lost, sizeof lost, MSG_DONTWAIT) == sizeof lost)
        dsmproc_part(&lost);
}

static void on_news(int signal, siginfo_t *info, void *context) {
    int saved = errno;
    take_news();
    if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(signal, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
        before.sa_handler(signal);
    errno = saved;
}

int dsmproc_part_by(int fd) {
    struct sigaction now;
    if (sigaction(SIGURG, NULL, &now) < 0) return -errno;
    if (!(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != on_news) {
        before = now;
        now = (struct sigaction){.sa_sigaction = on_news,
                                 .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
        if (sigaction(SIGURG, &now, NULL) < 0) return -errno;
    }
    atomic_store(&news, fd);
    if (fd < 0) {
        for (int i = 0; i < DSM_MAX_HOSTS / 64; i++)
            atomic_store(&parted[i], 0);
        return 0;
    }
    if (fcntl(fd, F_SETOWN, getpid()) < 0 || fcntl(fd, F_SETSIG, SIGURG) < 0) return -errno;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_ASYNC) < 0) return -errno;
    take_news(); /* what came before */
    return 0;
}
