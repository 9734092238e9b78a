/* The agent's half of faults by mprotect: commands to a client, its faults and acknowledgements. */
#include "sys/segv.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int dsm_segv_accept(int line) {
    char byte;
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec data = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    if (recvmsg(line, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0) return -errno;
    const struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (!head || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS ||
        head->cmsg_len != CMSG_LEN(sizeof(int)))
        return -EPROTO;
    int acks;
    memcpy(&acks, CMSG_DATA(head), sizeof acks);
    return acks;
}

int dsm_segv_read(int line, struct dsm_fault *faults, int room) {
    int count = 0;
    while (count < room) {
        uint64_t fault[2];
        ssize_t got = recv(line, fault, sizeof fault, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got != sizeof fault) {
            if (count) return count; /* the next call says it again */
            return got < 0 ? -errno : -ECONNRESET;
        }
        faults[count++] = (struct dsm_fault){
            .address = fault[0], .write = fault[1] != 0, .said = fault[0] ? 0 : (uint32_t)fault[1]};
    }
    return count;
}

int dsm_segv_command(int line, const struct dsm_segv_command *command) {
    for (;;) {
        ssize_t sent = send(line, command, sizeof *command, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0) return 0;
        if (errno != EINTR) return -errno;
    }
}

uint64_t dsm_segv_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int dsm_segv_settle(int acks, uint64_t number, uint64_t until) {
    for (;;) {
        uint64_t answer;
        ssize_t got = recv(acks, &answer, sizeof answer, MSG_DONTWAIT);
        if (got == sizeof answer) {
            if (answer >= number) return 0;
            continue;
        }
        if (got >= 0) return -ECONNRESET;
        if (errno != EAGAIN && errno != EINTR) return -errno;
        uint64_t now = dsm_segv_now();
        if (now >= until) return -ETIMEDOUT;
        struct pollfd waiting = {.fd = acks, .events = POLLIN};
        (void)poll(&waiting, 1, (int)(until - now));
    }
}
