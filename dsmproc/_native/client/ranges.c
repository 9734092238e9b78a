/* A latch: two copies of a sorted table. A writer changes the copy that nobody is told to read,
 * then the other one. So a reader waits for nobody, not even for the writer that it interrupted. */
#include "client/ranges.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

enum { MOST = 65536 }; /* more mappings than the kernel gives a process by default */

struct table {
    _Atomic uint32_t count;
    struct {
        _Atomic uint64_t start, end;
    } at[MOST];
};

static struct table tables[2];
static _Atomic uint32_t version; /* the copy that is whole: its lowest bit */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* How many begin below this address; none of them overlap. */
static uint32_t below(const struct table *table, uint64_t address) {
    uint32_t low = 0, high = atomic_load_explicit(&table->count, memory_order_relaxed);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (atomic_load_explicit(&table->at[middle].start, memory_order_relaxed) < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool dsm_ranges_touch(const void *start, size_t bytes) {
    uint64_t address = (uintptr_t)start;
    uint32_t before;
    bool found;
    if (!bytes) return false;
    do {
        before = atomic_load_explicit(&version, memory_order_acquire);
        const struct table *table = &tables[before & 1];
        uint32_t n = below(table, address + bytes);
        found = n && atomic_load_explicit(&table->at[n - 1].end, memory_order_relaxed) > address;
        atomic_thread_fence(memory_order_acquire);
    } while (atomic_load_explicit(&version, memory_order_relaxed) != before);
    return found;
}

static void move(struct table *table, uint32_t to, uint32_t from) {
    uint64_t start = atomic_load_explicit(&table->at[from].start, memory_order_relaxed);
    uint64_t end = atomic_load_explicit(&table->at[from].end, memory_order_relaxed);
    atomic_store_explicit(&table->at[to].start, start, memory_order_relaxed);
    atomic_store_explicit(&table->at[to].end, end, memory_order_relaxed);
}

static void insert(struct table *table, uint64_t start, uint64_t bytes) {
    uint32_t at = below(table, start), count = table->count;
    for (uint32_t i = count; i > at; i--)
        move(table, i, i - 1);
    atomic_store_explicit(&table->at[at].start, start, memory_order_relaxed);
    atomic_store_explicit(&table->at[at].end, start + bytes, memory_order_relaxed);
    atomic_store_explicit(&table->count, count + 1, memory_order_relaxed);
}

static void erase(struct table *table, uint64_t start, uint64_t unused) {
    (void)unused;
    uint32_t at = below(table, start), count = table->count;
    if (at == count || table->at[at].start != start) return;
    for (uint32_t i = at; i + 1 < count; i++)
        move(table, i, i + 1);
    atomic_store_explicit(&table->count, count - 1, memory_order_relaxed);
}

/* Readers are sent to the other copy first. */
static void change(void (*how)(struct table *, uint64_t, uint64_t), uint64_t start,
                   uint64_t bytes) {
    for (int i = 0; i < 2; i++) {
        struct table *table = &tables[atomic_load(&version) & 1];
        atomic_fetch_add(&version, 1);
        atomic_thread_fence(memory_order_release);
        how(table, start, bytes);
    }
}

/* Fork does not copy shared memory, and whoever held the mutex is not in the child. */
static void forked(void) {
    tables[0].count = tables[1].count = 0;
    pthread_mutex_init(&mutex, NULL);
}

static void prepare(void) {
    pthread_atfork(NULL, NULL, forked);
}

int dsm_ranges_add(const void *start, uint64_t bytes) {
    pthread_once(&once, prepare);
    pthread_mutex_lock(&mutex);
    int error = tables[0].count == MOST ? -ENOSPC : 0;
    if (!error) change(insert, (uintptr_t)start, bytes);
    pthread_mutex_unlock(&mutex);
    return error;
}

void dsm_ranges_remove(const void *start) {
    pthread_mutex_lock(&mutex);
    change(erase, (uintptr_t)start, 0);
    pthread_mutex_unlock(&mutex);
}
