/* The client's half: called by any thread of a process that uses regions and locks. */
#include "engine/spin.h"
#include "include/dsmproc_api.h"
#include "sys/control.h"
#include "sys/net.h"
#include "sys/segv.h"
#include "sys/uffd.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST_BYTES = 40, REPLY_BYTES = 16 };

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
    if (madvise(base, bytes, MADV_DONTFORK) < 0) return -errno; /* trap c: not optional */
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

int dsmproc_request_send(int fd, const struct dsmproc_request *request, int pass,
                         struct dsmproc_reply *reply) {
    reply->status = DSMPROC_ST_WAITING;
    uint8_t bytes[REQUEST_BYTES];
    dsm_put_le32(bytes, request->kind);
    dsm_put_le32(bytes + 4, request->op);
    dsm_put_le64(bytes + 8, request->id);
    dsm_put_le64(bytes + 16, request->a);
    dsm_put_le64(bytes + 24, request->b);
    dsm_put_le64(bytes + 32, request->c);
    return dsm_net_send_with(fd, bytes, sizeof bytes, pass);
}

int dsmproc_request_wait(int fd, int timeout_ms, struct dsmproc_reply *reply) {
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    struct dsm_spinning now;
    int ready;
    dsm_spin_begin(&reply->spin, &now);
    do {
        ready = poll(&waiting, 1, 0);
    } while (!ready && dsm_spin_again(&now));
    if (!ready) ready = poll(&waiting, 1, timeout_ms);
    dsm_spin_end(&reply->spin, &now);
    if (ready < 0) return -errno;
    if (!ready) return -EAGAIN;
    struct dsm_buffer in = {0};
    reply->fd = -1;
    ssize_t got = dsm_net_receive_with(fd, &in, REPLY_BYTES, &reply->fd);
    if (got == REPLY_BYTES) {
        reply->value = dsm_get_le64(in.data + 8);
        reply->status = dsm_get_le32(in.data);
    }
    dsm_buffer_free(&in);
    if (got == REPLY_BYTES) return 0;
    if (reply->fd >= 0) close(reply->fd);
    reply->fd = -1;
    if (got == -EAGAIN) return -EAGAIN;
    return -ECONNRESET; /* an answer is sent whole: less of it is the end */
}

/* SIGKILL and not a handler: a thread blocked by a fault inside a kernel copy takes only fatal
 * signals (trap b of the design). */
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

int dsmproc_lock_try(struct dsm_control *control, uint32_t slot, uint32_t pid) {
    return slot < DSM_CONTROL_LOCKS && dsm_word_try(&control->words[slot], pid);
}

int dsmproc_lock_give(struct dsm_control *control, uint32_t slot) {
    return slot < DSM_CONTROL_LOCKS ? (int)dsm_word_give(&control->words[slot]) : -EINVAL;
}

int dsmproc_quick_take(struct dsmproc_quick *quick) {
    if (!dsm_word_try(&quick->control->words[quick->slot], quick->pid)) return 0;
    quick->owner = (uint64_t)pthread_self();
    return 1;
}

/* Its owner is gone before another thread can have it. */
int dsmproc_quick_give(struct dsmproc_quick *quick) {
    uint64_t owner = quick->owner;
    quick->owner = 0;
    enum dsm_give given = dsm_word_give(&quick->control->words[quick->slot]);
    if (given != DSM_GIVE_DONE) quick->owner = owner;
    return (int)given;
}

int dsmproc_lock_owner_died(struct dsm_control *control, uint32_t slot) {
    return slot < DSM_CONTROL_LOCKS && atomic_load(&control->words[slot].died);
}

uint32_t dsmproc_lock_word(struct dsm_control *control, uint32_t slot) {
    return slot < DSM_CONTROL_LOCKS ? atomic_load(&control->words[slot].word) : 0;
}
