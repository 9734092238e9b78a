#include "sys/control.h"
#include "core/core.h"
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct dsm_control *dsm_control_map(int fd) {
    struct stat info;
    if (fstat(fd, &info) < 0) return NULL;
    if ((uint64_t)info.st_size != sizeof(struct dsm_control)) {
        errno = EPROTO;
        return NULL;
    }
    void *base = mmap(NULL, sizeof(struct dsm_control), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (base == MAP_FAILED) return NULL;
    struct dsm_control *control = base;
    if (control->magic == DSM_CONTROL_MAGIC && control->locks == DSM_CONTROL_LOCKS) return control;
    dsm_control_unmap(control);
    errno = EPROTO;
    return NULL;
}

void dsm_control_unmap(struct dsm_control *control) {
    munmap(control, sizeof *control);
}

bool dsm_word_try(struct dsm_word *word, uint32_t pid) {
    uint32_t expected = atomic_load_explicit(&word->word, memory_order_relaxed);
    uint32_t held = pid << 2 | DSM_LOCK_HELD;
    if ((expected & 3) != DSM_LOCK_FREE ||
        !atomic_compare_exchange_strong_explicit(&word->word, &expected, held, memory_order_acquire,
                                                 memory_order_relaxed))
        return false;
    atomic_fetch_add_explicit(&word->local, 1, memory_order_relaxed);
    return true;
}

enum dsm_give dsm_word_give(struct dsm_word *word) {
    uint32_t now = atomic_load_explicit(&word->word, memory_order_relaxed);
    while ((now & 3) == DSM_LOCK_HELD)
        if (atomic_compare_exchange_weak_explicit(&word->word, &now, DSM_LOCK_FREE,
                                                  memory_order_release, memory_order_relaxed))
            return DSM_GIVE_DONE;
    return (now & 3) == DSM_LOCK_FREE ? DSM_GIVE_FREE : DSM_GIVE_ASK;
}

bool dsm_word_take(struct dsm_word *word) {
    uint32_t now = atomic_load_explicit(&word->word, memory_order_relaxed);
    for (;;) {
        uint32_t state = now & 3;
        if (state == DSM_LOCK_ABSENT) return true;
        if (state == DSM_LOCK_HELD_WANTED) return false;
        uint32_t next = state == DSM_LOCK_FREE ? (uint32_t)DSM_LOCK_ABSENT
                                               : ((now & ~3u) | DSM_LOCK_HELD_WANTED);
        if (atomic_compare_exchange_weak_explicit(&word->word, &now, next, memory_order_acq_rel,
                                                  memory_order_relaxed))
            return state == DSM_LOCK_FREE;
    }
}

bool dsm_word_seize(struct dsm_word *word, uint32_t pid) {
    uint32_t now = atomic_load_explicit(&word->word, memory_order_relaxed);
    while ((now & 3) >= DSM_LOCK_HELD && (!pid || now >> 2 == pid))
        if (atomic_compare_exchange_weak_explicit(&word->word, &now, DSM_LOCK_ABSENT,
                                                  memory_order_acq_rel, memory_order_relaxed))
            return true;
    return false;
}
