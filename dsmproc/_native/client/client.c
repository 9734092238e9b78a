/* The client's half: called by any thread of a process that uses regions and locks. */
#include "include/dsmproc_api.h"
#include "sys/control.h"
#include "client/segv.h"
#include "sys/uffd.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int dsmproc_faults_probe(const char *force, char *why, size_t room) {
    if (force && strcmp(force, "segv") == 0) return DSM_SEGV;
    int found = dsm_uffd_probe(force, why, room);
    return found < 0 && !(force && *force) ? DSM_SEGV : found;
}

int dsmproc_faults_open(int mechanism) {
    return mechanism == DSM_SEGV ? dsm_segv_open() : dsm_uffd_open(mechanism);
}

void dsmproc_faults_close(int faults) {
    if (dsm_segv_is(faults))
        dsm_segv_close();
    else
        close(faults);
}

void dsmproc_faults_arm(int removed) {
    dsm_segv_arm(removed != 0);
}

void dsmproc_region_leave(int faults, uint64_t address) {
    if (dsm_segv_is(faults)) dsm_segv_leave(address);
}

void dsmproc_region_left(int faults, uint64_t address, int gone) {
    if (dsm_segv_is(faults)) dsm_segv_left(address, gone != 0);
}

int dsmproc_region_watch(int faults, uint64_t address, uint64_t bytes) {
    void *base = (void *)(uintptr_t)address;
    if (madvise(base, bytes, MADV_DONTFORK) < 0) return -errno; /* trap "forked mapping" */
    (void)madvise(base, bytes, MADV_NOHUGEPAGE);
    (void)madvise(base, bytes, MADV_DONTDUMP);
    if (dsm_segv_is(faults)) return dsm_segv_register(base, bytes);
    return dsm_uffd_register(faults, base, bytes);
}

int dsmproc_region_remap(int faults, int memory, uint64_t address, uint64_t bytes) {
    void *wanted = (void *)(uintptr_t)address;
    int flags = MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    if (mmap(wanted, bytes, PROT_READ | PROT_WRITE, flags, memory, 0) == MAP_FAILED) return -errno;
    int error = dsmproc_region_watch(faults, address, bytes);
    if (error) munmap(wanted, bytes);
    return error;
}

/* SIGKILL and not a handler: a thread blocked by a fault inside a kernel copy takes only fatal
 * signals (trap "fatal signals only"). */
int dsmproc_lifeline(int fd) {
    if (fcntl(fd, F_SETOWN, getpid()) < 0 || fcntl(fd, F_SETSIG, SIGKILL) < 0) return -errno;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_ASYNC) < 0) return -errno;
    struct pollfd now = {.fd = fd, .events = POLLIN};
    return poll(&now, 1, 0) > 0 ? -ECONNRESET : 0; /* it closed before we were armed */
}

int dsmproc_lifeline_off(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 || fcntl(fd, F_SETFL, flags & ~O_ASYNC) < 0 ? -errno : 0;
}

struct dsm_control *dsmproc_control_map(int fd) {
    return dsm_control_map(fd);
}

void dsmproc_control_unmap(struct dsm_control *control) {
    dsm_control_unmap(control);
}

uint64_t dsmproc_control_seen(struct dsm_control *control) {
    return atomic_load(&control->seen);
}

uint32_t dsmproc_control_host(struct dsm_control *control) {
    return control->host;
}

uint64_t dsmproc_control_out(struct dsm_control *control) {
    return atomic_load(&control->out);
}

int dsmproc_control_idle(struct dsm_control *control, uint64_t *stamp) {
    if (atomic_load(&control->busy)) return 0;
    *stamp = atomic_load(&control->out);
    return 1;
}

int dsmproc_lock_owner_died(struct dsm_control *control, uint32_t slot) {
    return slot < DSM_CONTROL_LOCKS && atomic_load(&control->words[slot].died);
}

uint32_t dsmproc_lock_word(struct dsm_control *control, uint32_t slot) {
    return slot < DSM_CONTROL_LOCKS ? atomic_load(&control->words[slot].word) : 0;
}
