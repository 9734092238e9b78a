/* System calls on shared memory, through a private buffer.
 *
 * What the system does at once is done at once: a message, a record that is appended, what a
 * terminal or a pipe has to read. Only where a call may as well be two, it is made in pieces, of
 * which each takes up where the one before ended; one that comes short is the last, as it would be
 * without pieces. */
#include "client/io.h"
#include "client/bounce.h"
#include "client/guard.h"
#include "client/ranges.h"
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

enum { AT_ONCE = 0x7ffff000 }; /* what Linux transfers in one call, at most */

struct call {
    ssize_t (*make)(const struct call *call, struct iovec *piece, size_t done);
    const struct iovec *parts;
    size_t count;
    int fd, flags;
    bool in; /* the system writes to memory */
    off_t offset;
    struct msghdr *message; /* without its parts */
};

static size_t length(const struct call *call) {
    size_t total = 0;
    for (size_t i = 0; i < call->count; i++) {
        size_t left = AT_ONCE - total, more = call->parts[i].iov_len;
        total += more < left ? more : left;
    }
    return total;
}

/* Between the buffer and the parts, from `done` on. */
static bool copy(const struct call *call, size_t done, char *bytes, size_t size) {
    for (size_t i = 0; size && i < call->count; i++) {
        size_t here = call->parts[i].iov_len;
        if (done >= here) {
            done -= here;
            continue;
        }
        char *part = (char *)call->parts[i].iov_base + done;
        here = here - done < size ? here - done : size;
        if (!dsm_guard_copy(call->in ? part : bytes, call->in ? bytes : part, here)) return false;
        bytes += here;
        size -= here;
        done = 0;
    }
    return true;
}

static bool may_be_two_on_a_socket(const struct call *call) {
    int type;
    socklen_t size = sizeof type;
    if (getsockopt(call->fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_STREAM)
        return false;
    if (!call->in) return !(call->flags & ~(MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE));
    return call->flags & MSG_WAITALL && !(call->flags & ~(MSG_WAITALL | MSG_DONTWAIT)) &&
           !(call->message && call->message->msg_control);
}

static bool may_be_two(const struct call *call) {
    struct stat file;
    if (fstat(call->fd, &file) < 0) return false;
    switch (file.st_mode & S_IFMT) {
    case S_IFREG:
        return call->in || !(fcntl(call->fd, F_GETFL) & O_APPEND);
    case S_IFBLK:
        return true;
    case S_IFIFO:
        return !call->in;
    case S_IFSOCK:
        return may_be_two_on_a_socket(call);
    default:
        return false;
    }
}

static __attribute__((noinline)) ssize_t transfer(const struct call *call,
                                                  struct dsm_bounce *bounce, size_t total) {
    size_t done = 0;
    while (done < total) {
        struct iovec piece = {.iov_base = bounce->bytes, .iov_len = total - done};
        if (piece.iov_len > bounce->size) piece.iov_len = bounce->size;
        size_t size = piece.iov_len;
        ssize_t moved = -1;
        if (call->in || copy(call, done, bounce->bytes, size))
            moved = call->make(call, &piece, done);
        if (moved > 0 && call->in &&
            !copy(call, done, bounce->bytes, (size_t)moved < size ? (size_t)moved : size))
            moved = -1;
        if (moved < 0) return done ? (ssize_t)done : moved;
        done += (size_t)moved; /* more than there was room for: MSG_TRUNC */
        if ((size_t)moved != size) break;
    }
    return (ssize_t)done;
}

/* A thread may be cancelled in the call. */
static __attribute__((noinline)) ssize_t transfer_by(const struct call *call, size_t total,
                                                     size_t room) {
    struct dsm_bounce bounce;
    if (!dsm_bounce_open(&bounce, room)) return -1;
    ssize_t result;
    pthread_cleanup_push(dsm_bounce_close, &bounce);
    result = transfer(call, &bounce, total);
    pthread_cleanup_pop(1);
    return result;
}

static ssize_t make(const struct call *call) {
    size_t total = length(call);
    bool whole = total <= DSM_BOUNCE_PIECE || !may_be_two(call);
    return transfer_by(call, total, whole ? total : DSM_BOUNCE_PIECE);
}

/* A count that the system refuses is for the system. */
static bool touch(const struct iovec *parts, size_t count) {
    if (count > IOV_MAX) return false;
    for (size_t i = 0; i < count; i++)
        if (dsm_ranges_touch(parts[i].iov_base, parts[i].iov_len)) return true;
    return false;
}

/* ---- files ---- */

static ssize_t make_read(const struct call *call, struct iovec *piece, size_t done) {
    (void)done;
    return read(call->fd, piece->iov_base, piece->iov_len);
}

static ssize_t make_write(const struct call *call, struct iovec *piece, size_t done) {
    (void)done;
    return write(call->fd, piece->iov_base, piece->iov_len);
}

static ssize_t make_pread(const struct call *call, struct iovec *piece, size_t done) {
    return pread(call->fd, piece->iov_base, piece->iov_len, call->offset + (off_t)done);
}

static ssize_t make_pwrite(const struct call *call, struct iovec *piece, size_t done) {
    return pwrite(call->fd, piece->iov_base, piece->iov_len, call->offset + (off_t)done);
}

/* -1: where the file stands. */
static ssize_t make_preadv2(const struct call *call, struct iovec *piece, size_t done) {
    off_t offset = call->offset == -1 ? -1 : call->offset + (off_t)done;
    return preadv2(call->fd, piece, 1, offset, call->flags);
}

static ssize_t make_pwritev2(const struct call *call, struct iovec *piece, size_t done) {
    off_t offset = call->offset == -1 ? -1 : call->offset + (off_t)done;
    return pwritev2(call->fd, piece, 1, offset, call->flags);
}

ssize_t dsm_io_read(int fd, void *bytes, size_t size) {
    if (!dsm_ranges_touch(bytes, size)) return read(fd, bytes, size);
    struct iovec part = {bytes, size};
    return make(
        &(struct call){.make = make_read, .in = true, .parts = &part, .count = 1, .fd = fd});
}

ssize_t dsm_io_write(int fd, const void *bytes, size_t size) {
    if (!dsm_ranges_touch(bytes, size)) return write(fd, bytes, size);
    struct iovec part = {(void *)(uintptr_t)bytes, size};
    return make(&(struct call){.make = make_write, .parts = &part, .count = 1, .fd = fd});
}

ssize_t dsm_io_pread(int fd, void *bytes, size_t size, off_t offset) {
    if (!dsm_ranges_touch(bytes, size)) return pread(fd, bytes, size, offset);
    struct iovec part = {bytes, size};
    return make(&(struct call){
        .make = make_pread, .in = true, .parts = &part, .count = 1, .fd = fd, .offset = offset});
}

ssize_t dsm_io_pwrite(int fd, const void *bytes, size_t size, off_t offset) {
    if (!dsm_ranges_touch(bytes, size)) return pwrite(fd, bytes, size, offset);
    struct iovec part = {(void *)(uintptr_t)bytes, size};
    return make(&(struct call){
        .make = make_pwrite, .parts = &part, .count = 1, .fd = fd, .offset = offset});
}

ssize_t dsm_io_readv(int fd, const struct iovec *parts, int count) {
    if (!touch(parts, (size_t)count)) return readv(fd, parts, count);
    return make(&(struct call){
        .make = make_read, .in = true, .parts = parts, .count = (size_t)count, .fd = fd});
}

ssize_t dsm_io_writev(int fd, const struct iovec *parts, int count) {
    if (!touch(parts, (size_t)count)) return writev(fd, parts, count);
    return make(
        &(struct call){.make = make_write, .parts = parts, .count = (size_t)count, .fd = fd});
}

ssize_t dsm_io_preadv(int fd, const struct iovec *parts, int count, off_t offset) {
    if (!touch(parts, (size_t)count)) return preadv(fd, parts, count, offset);
    return make(&(struct call){.make = make_pread,
                               .in = true,
                               .parts = parts,
                               .count = (size_t)count,
                               .fd = fd,
                               .offset = offset});
}

ssize_t dsm_io_pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    if (!touch(parts, (size_t)count)) return pwritev(fd, parts, count, offset);
    return make(&(struct call){
        .make = make_pwrite, .parts = parts, .count = (size_t)count, .fd = fd, .offset = offset});
}

/* RWF_APPEND and its like are of each piece. */
ssize_t dsm_io_preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    if (!touch(parts, (size_t)count)) return preadv2(fd, parts, count, offset, flags);
    return make(&(struct call){.make = make_preadv2,
                               .in = true,
                               .parts = parts,
                               .count = (size_t)count,
                               .fd = fd,
                               .offset = offset,
                               .flags = flags});
}

ssize_t dsm_io_pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    if (!touch(parts, (size_t)count)) return pwritev2(fd, parts, count, offset, flags);
    return make(&(struct call){.make = make_pwritev2,
                               .parts = parts,
                               .count = (size_t)count,
                               .fd = fd,
                               .offset = offset,
                               .flags = flags});
}

/* ---- sockets ---- */

/* Addresses and control data go with the first piece. */
static struct msghdr as_message(const struct call *call, struct iovec *piece, size_t done) {
    struct msghdr message = {0};
    if (!done && call->message) message = *call->message;
    message.msg_iov = piece;
    message.msg_iovlen = 1;
    return message;
}

static ssize_t make_sendmsg(const struct call *call, struct iovec *piece, size_t done) {
    struct msghdr message = as_message(call, piece, done);
    return sendmsg(call->fd, &message, call->flags);
}

static ssize_t make_recvmsg(const struct call *call, struct iovec *piece, size_t done) {
    struct msghdr message = as_message(call, piece, done);
    ssize_t got = recvmsg(call->fd, &message, call->flags);
    if (got < 0) return got;
    if (!done) {
        call->message->msg_namelen = message.msg_namelen;
        call->message->msg_controllen = message.msg_controllen;
    }
    call->message->msg_flags = message.msg_flags;
    return got;
}

ssize_t dsm_io_recvmsg(int fd, struct msghdr *message, int flags) {
    if (!touch(message->msg_iov, message->msg_iovlen)) return recvmsg(fd, message, flags);
    return make(&(struct call){.make = make_recvmsg,
                               .in = true,
                               .parts = message->msg_iov,
                               .count = message->msg_iovlen,
                               .fd = fd,
                               .flags = flags,
                               .message = message});
}

ssize_t dsm_io_sendmsg(int fd, const struct msghdr *message, int flags) {
    if (!touch(message->msg_iov, message->msg_iovlen)) return sendmsg(fd, message, flags);
    struct msghdr head = *message;
    return make(&(struct call){.make = make_sendmsg,
                               .parts = message->msg_iov,
                               .count = message->msg_iovlen,
                               .fd = fd,
                               .flags = flags,
                               .message = &head});
}

ssize_t dsm_io_recvfrom(int fd, void *bytes, size_t size, int flags, struct sockaddr *from,
                        socklen_t *from_size) {
    if (!dsm_ranges_touch(bytes, size)) return recvfrom(fd, bytes, size, flags, from, from_size);
    struct iovec part = {bytes, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_name = from};
    if (from && from_size) message.msg_namelen = *from_size;
    ssize_t got = dsm_io_recvmsg(fd, &message, flags);
    if (got >= 0 && from && from_size) *from_size = message.msg_namelen;
    return got;
}

ssize_t dsm_io_recv(int fd, void *bytes, size_t size, int flags) {
    if (!dsm_ranges_touch(bytes, size)) return recv(fd, bytes, size, flags);
    return dsm_io_recvfrom(fd, bytes, size, flags, NULL, NULL);
}

ssize_t dsm_io_sendto(int fd, const void *bytes, size_t size, int flags, const struct sockaddr *to,
                      socklen_t to_size) {
    if (!dsm_ranges_touch(bytes, size)) return sendto(fd, bytes, size, flags, to, to_size);
    struct iovec part = {(void *)(uintptr_t)bytes, size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_name = (void *)(uintptr_t)to,
                             .msg_namelen = to ? to_size : 0};
    return dsm_io_sendmsg(fd, &message, flags);
}

ssize_t dsm_io_send(int fd, const void *bytes, size_t size, int flags) {
    if (!dsm_ranges_touch(bytes, size)) return send(fd, bytes, size, flags);
    return dsm_io_sendto(fd, bytes, size, flags, NULL, 0);
}
