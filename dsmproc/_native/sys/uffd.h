/* userfaultfd: probing, registration, reading faults and resolving them. No decisions.
 *
 * Two mechanisms: full (kernel copies fault too) and user-mode-only (kernel copies on a protected
 * page fail with EFAULT). Needs UFFDIO_CONTINUE with MODE_WP on shared memory: Linux >= 6.4.
 */
#ifndef DSM_SYS_UFFD_H
#define DSM_SYS_UFFD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DSM_UFFD_FULL = 1, DSM_UFFD_USER = 2 };

/* What came of an operation on another process's memory. */
enum dsm_uffd_result {
    DSM_UFFD_OK = 0,
    DSM_UFFD_GONE = 1, /* that process has no memory any more (exit or exec) */
    DSM_UFFD_BUG = 2,  /* none of the races that may be ignored: our mistake */
};

struct dsm_fault {
    uint64_t address;
    bool write;
    bool protect;  /* a store to a page that is mapped read-only */
    uint32_t said; /* 0, or it is no fault (sys/segv.h) */
};

/* The best mechanism that works here, tried on throw-away descriptors; `force` ("uffd",
 * "uffd-user" or NULL) leaves no choice. Negative: none does, and `why` says it in one sentence. */
int dsm_uffd_probe(const char *force, char *why, size_t room);
/* A descriptor (non-blocking, close on exec) for this process's memory, or -errno. */
int dsm_uffd_open(int mechanism);
/* Register MISSING | MINOR | WP (trap "lost marker": never less). 0 or -errno. */
int dsm_uffd_register(int fd, void *address, uint64_t bytes);

/* Up to `room` faults that wait: their number, or -errno (-EAGAIN: none). */
int dsm_uffd_read(int fd, struct dsm_fault *faults, int room);
/* Let the process use pages that are resident now, and wake its threads parked on them. */
enum dsm_uffd_result dsm_uffd_map(int fd, uint64_t address, uint64_t bytes, bool writable);
/* Read-only from here on; after return no store to the range is under way. */
enum dsm_uffd_result dsm_uffd_protect(int fd, uint64_t address, uint64_t bytes);
enum dsm_uffd_result dsm_uffd_wake(int fd, uint64_t address, uint64_t bytes);
/* Any touch ends the process with SIGBUS. DSM_UFFD_BUG where the kernel cannot (before 6.6). */
enum dsm_uffd_result dsm_uffd_poison(int fd, uint64_t address, uint64_t bytes);

#endif
