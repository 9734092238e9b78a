#include "sys/uffd.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the headers of the systems that we build on. */
#ifndef UFFDIO_CONTINUE_MODE_WP
#define UFFDIO_CONTINUE_MODE_WP ((__u64)1 << 1)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#ifndef UFFDIO_POISON
struct uffdio_poison {
    struct uffdio_range range;
    __u64 mode;
    __s64 updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct uffdio_poison)
#endif

static const uint64_t FEATURES =
    UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_WP_HUGETLBFS_SHMEM;

enum { PAGE = 4096, RETRIES = 1000 };

static int open_raw(int mechanism) {
    const int flags = O_CLOEXEC | O_NONBLOCK;
    if (mechanism == DSM_UFFD_USER) {
        int user = (int)syscall(SYS_userfaultfd, flags | UFFD_USER_MODE_ONLY);
        return user < 0 ? -errno : user;
    }
    int fd = (int)syscall(SYS_userfaultfd, flags);
    if (fd >= 0) return fd;
    int error = errno;
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device < 0) return -error;
    fd = ioctl(device, USERFAULTFD_IOC_NEW, flags);
    if (fd < 0) error = errno;
    close(device);
    return fd < 0 ? -error : fd;
}

int dsm_uffd_open(int mechanism) {
    int fd = open_raw(mechanism);
    if (fd < 0) return fd;
    struct uffdio_api api = {.api = UFFD_API, .features = FEATURES};
    if (ioctl(fd, UFFDIO_API, &api) == 0) return fd;
    int error = errno;
    close(fd);
    return -error;
}

int dsm_uffd_register(int fd, void *address, uint64_t bytes) {
    struct uffdio_register request = {
        .range = {.start = (uintptr_t)address, .len = bytes},
        .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP,
    };
    return ioctl(fd, UFFDIO_REGISTER, &request) < 0 ? -errno : 0;
}

/* What the design needs beyond registration: mapping a resident page write-protected. */
static int probe_page(int fd) {
    int memory = memfd_create("dsmproc-probe", MFD_CLOEXEC);
    if (memory < 0) return -errno;
    int error = 0;
    void *page = MAP_FAILED;
    if (ftruncate(memory, PAGE) < 0 || pwrite(memory, "x", 1, 0) != 1)
        error = -errno;
    else if ((page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0)) == MAP_FAILED)
        error = -errno;
    else
        error = dsm_uffd_register(fd, page, PAGE);
    if (!error) {
        struct uffdio_continue request = {.range = {.start = (uintptr_t)page, .len = PAGE},
                                          .mode = UFFDIO_CONTINUE_MODE_WP};
        if (ioctl(fd, UFFDIO_CONTINUE, &request) < 0) error = -errno;
    }
    if (page != MAP_FAILED) munmap(page, PAGE);
    close(memory);
    return error;
}

static int probe_one(int mechanism) {
    int fd = dsm_uffd_open(mechanism);
    if (fd < 0) return fd;
    int error = probe_page(fd);
    close(fd);
    return error;
}

int dsm_uffd_probe(const char *force, char *why, size_t room) {
    bool full = true, user = true;
    if (force && *force) {
        full = strcmp(force, "uffd") == 0;
        user = strcmp(force, "uffd-user") == 0;
        if (!full && !user) {
            snprintf(why, room, "DSMPROC_FAULTS=%s: this version knows uffd, uffd-user and segv",
                     force);
            return -EINVAL;
        }
    }
    int error = full ? probe_one(DSM_UFFD_FULL) : -ENOTSUP;
    if (!error) return DSM_UFFD_FULL;
    int user_error = user ? probe_one(DSM_UFFD_USER) : -ENOTSUP;
    if (!user_error) return DSM_UFFD_USER;
    if (full && user)
        snprintf(why, room,
                 "userfaultfd is refused (%s; "
                 "user-mode-only: %s); Linux 6.4 or newer is needed, and in containers "
                 "a seccomp profile that allows userfaultfd, or /dev/userfaultfd",
                 strerror(-error), strerror(-user_error));
    else
        snprintf(why, room, "DSMPROC_FAULTS=%s is refused by this system: %s", force,
                 strerror(full ? -error : -user_error));
    return full ? error : user_error;
}

int dsm_uffd_read(int fd, struct dsm_fault *faults, int room) {
    struct uffd_msg messages[64];
    if (room > 64) room = 64;
    ssize_t got;
    do {
        got = read(fd, messages, (size_t)room * sizeof messages[0]);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return -errno;
    int count = 0;
    for (size_t i = 0; i < (size_t)got / sizeof messages[0]; i++) {
        if (messages[i].event != UFFD_EVENT_PAGEFAULT) continue;
        uint64_t flags = messages[i].arg.pagefault.flags;
        faults[count].said = 0;
        faults[count].address = messages[i].arg.pagefault.address;
        faults[count].protect = (flags & UFFD_PAGEFAULT_FLAG_WP) != 0;
        faults[count].write = (flags & (UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP)) != 0;
        count++;
    }
    return count;
}

static enum dsm_uffd_result classify(int error) {
    if (error == ESRCH) return DSM_UFFD_GONE;
    return error == ENOENT ? DSM_UFFD_OK : DSM_UFFD_BUG; /* unmapped meanwhile */
}

enum dsm_uffd_result dsm_uffd_wake(int fd, uint64_t address, uint64_t bytes) {
    struct uffdio_range range = {.start = address, .len = bytes};
    return ioctl(fd, UFFDIO_WAKE, &range) < 0 ? classify(errno) : DSM_UFFD_OK;
}

static enum dsm_uffd_result set_protection(int fd, uint64_t address, uint64_t bytes,
                                           uint64_t mode) {
    struct uffdio_writeprotect request = {.range = {.start = address, .len = bytes}, .mode = mode};
    for (int i = 0; ioctl(fd, UFFDIO_WRITEPROTECT, &request) < 0; i++)
        if (errno != EAGAIN || i == RETRIES) return classify(errno);
    return DSM_UFFD_OK;
}

enum dsm_uffd_result dsm_uffd_protect(int fd, uint64_t address, uint64_t bytes) {
    return set_protection(fd, address, bytes, UFFDIO_WRITEPROTECT_MODE_WP);
}

enum filling { READABLE, WRITABLE, POISONED };

/* 0 or an error, and how many bytes of the range are done. */
static int try_fill(int fd, enum filling how, uint64_t address, uint64_t bytes, int64_t *done) {
    struct uffdio_range range = {.start = address, .len = bytes};
    int error = 0;
    if (how == POISONED) {
        struct uffdio_poison request = {.range = range};
        if (ioctl(fd, UFFDIO_POISON, &request) < 0) error = errno;
        *done = request.updated;
    } else {
        struct uffdio_continue request = {.range = range,
                                          .mode = how == READABLE ? UFFDIO_CONTINUE_MODE_WP : 0};
        if (ioctl(fd, UFFDIO_CONTINUE, &request) < 0) error = errno;
        *done = request.mapped;
    }
    return error;
}

/* The kernel stops at the first page that is filled already (for another thread's fault), and does
 * nothing (ENOENT) where the range is not of one mapping any more : then it
 * goes page by page. Nobody stays parked on a page that is passed over. */
static enum dsm_uffd_result fill(int fd, enum filling how, uint64_t address, uint64_t bytes) {
    uint64_t end = address + bytes, step = bytes;
    int stuck = 0;
    while (address < end) {
        int64_t done;
        int error = try_fill(fd, how, address, step < end - address ? step : end - address, &done);
        if (done > 0) {
            address += (uint64_t)done;
        } else if (error == EAGAIN && ++stuck <= RETRIES) {
            continue;
        } else if (error == ENOENT && step > PAGE) {
            step = PAGE;
        } else if (error == EEXIST || error == ENOENT) {
            enum dsm_uffd_result result = how == WRITABLE && error == EEXIST
                                              ? set_protection(fd, address, PAGE, 0)
                                              : dsm_uffd_wake(fd, address, PAGE);
            if (result != DSM_UFFD_OK) return result;
            address += PAGE;
        } else {
            return classify(error);
        }
    }
    return DSM_UFFD_OK;
}

enum dsm_uffd_result dsm_uffd_map(int fd, uint64_t address, uint64_t bytes, bool writable) {
    return fill(fd, writable ? WRITABLE : READABLE, address, bytes);
}

/* A page that was protected has left a mark where it was, which the kernel does not overwrite. */
enum dsm_uffd_result dsm_uffd_poison(int fd, uint64_t address, uint64_t bytes) {
    enum dsm_uffd_result result =
        set_protection(fd, address, bytes, UFFDIO_WRITEPROTECT_MODE_DONTWAKE);
    return result == DSM_UFFD_OK ? fill(fd, POISONED, address, bytes) : result;
}
