#include "sys/cores.h"
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t dsm_clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint32_t dsm_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0) return 1;
    return (uint32_t)CPU_COUNT(&set);
}

uint32_t dsm_runnable(void) {
    char text[128];
    int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    if (got <= 0) return 0;
    text[got] = 0; /* three averages, then running/existing */
    const char *at = text;
    for (int i = 0; i < 3 && at; i++)
        if ((at = strchr(at, ' '))) at++;
    return at ? (uint32_t)strtoul(at, NULL, 10) : 0;
}

void dsm_yield(void) {
    sched_yield();
}
