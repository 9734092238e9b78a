/* The client's half: called by any thread of a process that uses regions and locks. */
#include "include/dsmproc_api.h"
#include "sys/control.h"
#include "client/hooks.h"
#include "client/segv.h"
#include "sys/uffd.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int dsmproc_faults_probe(const char *force, char *why, size_t room) {
    if (force && strcmp(force, "segv") == 0) return DSM_SEGV;
    int found = dsm_uffd_probe(force, why, room);
    return found < 0 && !(force && *force) ? DSM_SEGV : found;
}

/* The kernel's own faults are served too. */
static bool is_full = true;

int dsmproc_faults_open(int mechanism) {
    is_full = mechanism == DSM_UFFD_FULL;
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

static int watch(int faults, void *base, uint64_t bytes) {
    if (madvise(base, bytes, MADV_DONTFORK) < 0) return -errno; /* trap "forked mapping" */
    (void)madvise(base, bytes, MADV_NOHUGEPAGE);
    (void)madvise(base, bytes, MADV_DONTDUMP);
    int error = dsm_segv_is(faults) ? dsm_segv_register(base, bytes)
                                    : dsm_uffd_register(faults, base, bytes);
    return error || is_full ? error : dsm_hooks_cover(base, bytes);
}

static int map(int faults, int memory, void *wanted, int more, struct dsmproc_mapping *mapping) {
    int flags = MAP_SHARED | MAP_NORESERVE | more;
    void *base = mmap(wanted, mapping->bytes, PROT_READ | PROT_WRITE, flags, memory, 0);
    if (base == MAP_FAILED) return -errno;
    int error = watch(faults, base, mapping->bytes);
    if (error)
        dsm_segv_unmap(base, mapping->bytes);
    else
        mapping->address = (uintptr_t)base;
    return error;
}

int dsmproc_region_map(int faults, struct dsmproc_request *attach,
                       struct dsmproc_mapping *mapping) {
    mapping->bytes = attach->value * (uint64_t)sysconf(_SC_PAGESIZE);
    int error = map(faults, attach->fd, NULL, 0, mapping);
    close(attach->fd);
    attach->fd = -1;
    return error;
}

/* In a child, which inherited a hole. */
int dsmproc_region_remap(int faults, struct dsmproc_request *attach,
                         struct dsmproc_mapping *mapping) {
    void *wanted = (void *)(uintptr_t)mapping->address;
    int error = map(faults, attach->fd, wanted, MAP_FIXED_NOREPLACE, mapping);
    close(attach->fd);
    attach->fd = -1;
    return error;
}

void dsmproc_region_unmap(struct dsmproc_mapping *mapping, void *first) {
    (void)first;
    uint64_t address = __atomic_exchange_n(&mapping->address, 0, __ATOMIC_ACQ_REL);
    if (!address) return;
    dsm_hooks_uncover((void *)(uintptr_t)address);
    dsm_segv_unmap((void *)(uintptr_t)address, mapping->bytes);
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
