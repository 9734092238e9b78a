#include "sys/net.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int dsm_net_prepare(int fd) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return -errno;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) return -errno;
    int one = 1; /* fails on unix sockets, where there is no delay to turn off */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return 0;
}

ssize_t dsm_frame_open(struct dsm_buffer *buffer) {
    uint8_t head[DSM_FRAME_HEAD] = {0};
    head[4] = DSM_FRAME_VERSION;
    head[5] = DSM_FRAME_CORE;
    size_t before = dsm_buffer_len(buffer);
    int error = dsm_buffer_append(buffer, head, sizeof head);
    return error ? error : (ssize_t)before;
}

static int append_tag(struct dsm_buffer *buffer, size_t mark, struct dsm_seal *seal) {
    int error = dsm_buffer_reserve(buffer, DSM_TAG_BYTES);
    if (error) return error;
    const uint8_t *frame = buffer->data + buffer->head + mark;
    dsm_seal_tag(seal, frame, dsm_buffer_len(buffer) - mark, buffer->data + buffer->tail);
    buffer->tail += DSM_TAG_BYTES;
    return 0;
}

/* The mark counts from the head, so that it stays true when the buffer is moved or grows. */
int dsm_frame_close(struct dsm_buffer *buffer, size_t mark, uint32_t packed,
                    struct dsm_seal *seal) {
    size_t body = dsm_buffer_len(buffer) - mark - DSM_FRAME_HEAD;
    uint8_t *head = buffer->data + buffer->head + mark;
    dsm_put_le32(head, (uint32_t)body);
    head[6] = (uint8_t)packed;
    head[7] = (uint8_t)(packed >> 8);
    return seal->on ? append_tag(buffer, mark, seal) : 0;
}

int dsm_frame_first(const struct dsm_buffer *buffer, const struct dsm_seal *seal,
                    const uint8_t **body, uint32_t *len, size_t *whole) {
    size_t have = dsm_buffer_len(buffer);
    const uint8_t *head = buffer->data + buffer->head;
    *whole = DSM_FRAME_HEAD;
    if (have < DSM_FRAME_HEAD) return 0;
    *len = dsm_get_le32(head);
    if (*len > DSM_FRAME_MAX || head[4] != DSM_FRAME_VERSION || head[5] != DSM_FRAME_CORE)
        return -EPROTO;
    *whole = (size_t)DSM_FRAME_HEAD + *len + (seal->on ? DSM_TAG_BYTES : 0);
    if (have < *whole) return 0;
    *body = head + DSM_FRAME_HEAD;
    return 1;
}

uint32_t dsm_frame_packed(const uint8_t *body) {
    return body[-2] | (uint32_t)body[-1] << 8;
}

bool dsm_frame_genuine(const struct dsm_buffer *buffer, struct dsm_seal *seal, size_t whole) {
    if (!seal->on) return true;
    const uint8_t *frame = buffer->data + buffer->head, *tag = frame + whole - DSM_TAG_BYTES;
    return dsm_seal_check(seal, frame, whole - DSM_TAG_BYTES, tag);
}

int dsm_frames_seal(struct dsm_buffer *buffer, struct dsm_seal *seal) {
    static const struct dsm_seal none;
    struct dsm_buffer sealed = {0};
    const uint8_t *body;
    uint32_t len;
    size_t whole;
    int error = 0;
    for (struct dsm_buffer rest = *buffer;
         !error && dsm_frame_first(&rest, &none, &body, &len, &whole) > 0; rest.head += whole) {
        size_t mark = dsm_buffer_len(&sealed);
        error = dsm_buffer_append(&sealed, rest.data + rest.head, whole);
        if (!error) error = append_tag(&sealed, mark, seal);
    }
    dsm_buffer_free(error ? &sealed : buffer);
    if (!error) *buffer = sealed;
    return error;
}

ssize_t dsm_net_send(int fd, struct dsm_buffer *buffer) {
    ssize_t sent;
    do {
        sent = send(fd, buffer->data + buffer->head, dsm_buffer_len(buffer),
                    MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) return -errno;
    dsm_buffer_consume(buffer, (size_t)sent);
    return sent;
}

ssize_t dsm_net_receive(int fd, struct dsm_buffer *buffer, size_t bytes) {
    int error = dsm_buffer_reserve(buffer, bytes);
    if (error) return error;
    ssize_t got;
    do {
        got = recv(fd, buffer->data + buffer->tail, bytes, MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return -errno;
    buffer->tail += (size_t)got;
    return got;
}

union control_space {
    struct cmsghdr align;
    char space[CMSG_SPACE(sizeof(int))];
};

int dsm_net_send_with(int fd, const void *bytes, size_t len, int pass) {
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    union control_space control;
    memset(&control, 0, sizeof control);
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (pass >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control.space;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof pass);
        memcpy(CMSG_DATA(head), &pass, sizeof pass);
    }
    ssize_t sent;
    do {
        sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) return -errno;
    return (size_t)sent == len ? 0 : -EAGAIN;
}

static void receive_passed(struct msghdr *message, int *passed) {
    for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head; head = CMSG_NXTHDR(message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
        int fd;
        memcpy(&fd, CMSG_DATA(head), sizeof fd);
        if (*passed >= 0) close(*passed);
        *passed = fd;
    }
}

ssize_t dsm_net_receive_with(int fd, struct dsm_buffer *buffer, size_t bytes, int *passed) {
    int error = dsm_buffer_reserve(buffer, bytes);
    if (error) return error;
    struct iovec part = {.iov_base = buffer->data + buffer->tail, .iov_len = bytes};
    union control_space control;
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.space};
    ssize_t got;
    do {
        got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return -errno;
    receive_passed(&message, passed);
    buffer->tail += (size_t)got;
    return got;
}
