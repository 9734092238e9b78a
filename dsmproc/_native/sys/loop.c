#include "sys/loop.h"
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

int dsm_loop_open(void) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int dsm_loop_watch(int loop, struct dsm_source *source) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};
    source->writing = source->dead = false;
    return epoll_ctl(loop, EPOLL_CTL_ADD, source->fd, &event) < 0 ? -errno : 0;
}

int dsm_loop_writing(int loop, struct dsm_source *source, bool on) {
    if (source->writing == on) return 0;
    struct epoll_event event = {.events = on ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = source};
    source->writing = on;
    return epoll_ctl(loop, EPOLL_CTL_MOD, source->fd, &event) < 0 ? -errno : 0;
}

void dsm_loop_unwatch(int loop, struct dsm_source *source) {
    source->dead = true;
    if (source->fd >= 0) epoll_ctl(loop, EPOLL_CTL_DEL, source->fd, NULL);
}

int dsm_loop_wait(int loop, struct dsm_source **ready, uint32_t *flags, int room, int timeout_ms) {
    struct epoll_event events[64];
    int count = epoll_wait(loop, events, room < 64 ? room : 64, timeout_ms);
    if (count < 0) return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < count; i++) {
        ready[i] = events[i].data.ptr;
        flags[i] = (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) ? DSM_READY_READ : 0u) |
                   (events[i].events & EPOLLOUT ? DSM_READY_WRITE : 0u);
    }
    return count;
}

int dsm_eventfd_open(void) {
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

void dsm_eventfd_raise(int fd) {
    uint64_t one = 1; /* it can only fail when it is raised already */
    ssize_t done = write(fd, &one, sizeof one);
    (void)done;
}

void dsm_eventfd_clear(int fd) {
    uint64_t count;
    ssize_t done = read(fd, &count, sizeof count);
    (void)done;
}

int dsm_timer_open(uint32_t milliseconds) {
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd < 0) return -errno;
    struct timespec period = {.tv_sec = milliseconds / 1000,
                              .tv_nsec = (long)(milliseconds % 1000) * 1000000};
    struct itimerspec spec = {.it_interval = period, .it_value = period};
    if (timerfd_settime(fd, 0, &spec, NULL) == 0) return fd;
    int error = errno;
    close(fd);
    return -error;
}

int dsm_timer_once(int fd, uint64_t microseconds) {
    struct timespec when = {.tv_sec = (time_t)(microseconds / 1000000),
                            .tv_nsec = (long)(microseconds % 1000000) * 1000};
    struct itimerspec spec = {.it_value = when};
    return timerfd_settime(fd, 0, &spec, NULL) ? -errno : 0;
}
