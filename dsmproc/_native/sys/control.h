/* The control segment: what an agent and the processes of its host share without asking.
 *
 * A small memfd, mapped by all of them, never part of any region: the summary of the protocol's
 * state, and one word per lock (see DSM_LOCK_* in core.h: pid << 2 | state).
 */
#ifndef DSM_SYS_CONTROL_H
#define DSM_SYS_CONTROL_H
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { DSM_CONTROL_LOCKS = 1 << 20, DSM_CONTROL_MAGIC = 0x44534d31 };

struct dsm_word {
    _Atomic uint32_t word;
    _Atomic uint32_t died;  /* DSM_WORD_DIED; of meaning while the lock is held */
    _Atomic uint64_t local; /* acquisitions that asked nobody */
};

struct dsm_control {
    uint32_t magic;
    uint32_t page_size;
    uint32_t host;
    uint32_t locks;
    alignas(64) _Atomic uint64_t seen;
    _Atomic uint64_t out;
    _Atomic uint32_t busy;
    _Atomic uint32_t waiting;
    alignas(64) struct dsm_word words[DSM_CONTROL_LOCKS];
};

enum dsm_give { DSM_GIVE_DONE = 0, DSM_GIVE_ASK = 1, DSM_GIVE_FREE = 2, DSM_GIVE_NOT_OWNED = 3 };

/* Map a control segment that came as a descriptor: NULL (and errno) if it is none. */
struct dsm_control *dsm_control_map(int fd);
void dsm_control_unmap(struct dsm_control *control);

/* FREE -> HELD by pid. False: it is held, or not here; then the engine must be asked. */
bool dsm_word_try(struct dsm_word *word, uint32_t pid);
/* HELD -> FREE, whoever held it. ASK: the engine must do it. FREE: nobody held it. */
enum dsm_give dsm_word_give(struct dsm_word *word);
/* FREE -> ABSENT: true. HELD or HELD_WANTED -> HELD_WANTED: false. ABSENT stays: true. */
bool dsm_word_take(struct dsm_word *word);
/* HELD or HELD_WANTED (by pid, if that is not 0) -> ABSENT: true. Else false, and nothing
 * changes. */
bool dsm_word_seize(struct dsm_word *word, uint32_t pid);

#endif
