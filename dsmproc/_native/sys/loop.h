/* epoll, eventfd and timerfd, so that a loop can be written without system calls in sight. */
#ifndef DSM_SYS_LOOP_H
#define DSM_SYS_LOOP_H
#include <stdbool.h>
#include <stdint.h>

/* What a loop watches. It stays at its address while watched. */
struct dsm_source {
    int fd;
    uint32_t kind; /* the owner's */
    bool writing;  /* also watched for room to write */
    bool dead;     /* unwatched: events of this turn that still name it are stale */
};

int dsm_loop_open(void);
int dsm_loop_watch(int loop, struct dsm_source *source);
/* Also (or no longer) report when `source` can be written. */
int dsm_loop_writing(int loop, struct dsm_source *source, bool on);
void dsm_loop_unwatch(int loop, struct dsm_source *source);
/* The sources that are ready, at most `room`; flags: 1 readable or hung up, 2 writable. */
enum { DSM_READY_READ = 1, DSM_READY_WRITE = 2 };
int dsm_loop_wait(int loop, struct dsm_source **ready, uint32_t *flags, int room, int timeout_ms);

int dsm_eventfd_open(void);
void dsm_eventfd_raise(int fd);
/* Also for timers: read away what made it ready. */
void dsm_eventfd_clear(int fd);
int dsm_timer_open(uint32_t milliseconds); /* 0: it is not set */
int dsm_timer_once(int fd, uint64_t microseconds);

#endif
