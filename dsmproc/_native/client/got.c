#include "client/got.h"
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined __x86_64__
enum { BY_CALL = R_X86_64_JUMP_SLOT, BY_TABLE = R_X86_64_GLOB_DAT, BY_DATA = R_X86_64_64 };
#elif defined __aarch64__
enum { BY_CALL = R_AARCH64_JUMP_SLOT, BY_TABLE = R_AARCH64_GLOB_DAT, BY_DATA = R_AARCH64_ABS64 };
#else
#error "which relocations name a function on this machine?"
#endif

enum { MOST_HOOKS = 64, BITS = 4096 };

/* What the C library has, and what a program finds that was started with a LD_PRELOAD. */
static struct {
    const struct dsm_hook *hooks;
    size_t count;
    uintptr_t library[MOST_HOOKS], found[MOST_HOOKS];
    uint8_t names[BITS / 8]; /* most others are none of these */
} wanted;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
/* Objects that are done; how many were ever loaded, and unloaded, when they were listed. */
struct objects {
    const void **at;
    size_t count, room;
};
static struct objects done;
static _Atomic uint64_t loaded, unloaded;

/* ---- one object ---- */

struct object {
    uintptr_t base, low, high;    /* where it is */
    uintptr_t sealed, sealed_end; /* read-only after it was loaded */
    const ElfW(Sym) * symbols;
    const char *names;
    const ElfW(Rela) * tables[2];
    size_t bytes[2];
    bool open; /* what was sealed is writable now */
};

static uint32_t hash(const char *name) {
    uint32_t sum = 0;
    while (*name)
        sum = sum * 33 + (uint8_t)*name++;
    return sum % BITS;
}

static int hook_of(const char *name) {
    uint32_t bit = hash(name);
    if (!(wanted.names[bit / 8] >> bit % 8 & 1)) return -1;
    for (size_t i = 0; i < wanted.count; i++)
        if (!strcmp(wanted.hooks[i].name, name)) return (int)i;
    return -1;
}

/* The loader relocates these addresses, but not the kernel's object, and not every loader. */
static const void *address_of(const struct object *object, uintptr_t value) {
    return (const void *)(value < object->base ? object->base + value : value);
}

static void read_dynamic(struct object *object, const ElfW(Dyn) * entry) {
    for (; entry->d_tag != DT_NULL; entry++) {
        const void *at = address_of(object, entry->d_un.d_ptr);
        switch (entry->d_tag) {
        case DT_SYMTAB:
            object->symbols = at;
            break;
        case DT_STRTAB:
            object->names = at;
            break;
        case DT_JMPREL:
            object->tables[0] = at;
            break;
        case DT_PLTRELSZ:
            object->bytes[0] = entry->d_un.d_val;
            break;
        case DT_RELA:
            object->tables[1] = at;
            break;
        case DT_RELASZ:
            object->bytes[1] = entry->d_un.d_val;
            break;
        }
    }
}

static void read_headers(struct object *object, const struct dl_phdr_info *info) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    *object = (struct object){.base = info->dlpi_addr, .low = UINTPTR_MAX};
    const ElfW(Dyn) *dynamic = NULL;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *head = &info->dlpi_phdr[i];
        uintptr_t start = object->base + head->p_vaddr, end = start + head->p_memsz;
        if (head->p_type == PT_DYNAMIC) dynamic = (const void *)start;
        if (head->p_type == PT_LOAD && start < object->low) object->low = start;
        if (head->p_type == PT_LOAD && end > object->high) object->high = end;
        if (head->p_type == PT_GNU_RELRO) {
            object->sealed = start & ~(page - 1);
            object->sealed_end = end & ~(page - 1);
        }
    }
    if (dynamic) read_dynamic(object, dynamic);
}

static bool seal(struct object *object, bool closed) {
    int rights = closed ? PROT_READ : PROT_READ | PROT_WRITE;
    if (object->open == !closed) return true;
    if (mprotect((void *)object->sealed, object->sealed_end - object->sealed, rights) < 0)
        return false;
    object->open = !closed;
    return true;
}

/* An address in the object itself is a call that was not bound yet. Any other that is not the C
 * library's is of somebody who has a function of that name. */
static void redirect(struct object *object, _Atomic uintptr_t *slot, int hook) {
    uintptr_t now = atomic_load(slot), at = (uintptr_t)slot;
    bool unbound = now >= object->low && now < object->high;
    if (!unbound && now != wanted.library[hook] && now != wanted.found[hook]) return;
    if (at >= object->sealed && at < object->sealed_end && !seal(object, false)) return;
    atomic_store(slot, (uintptr_t)wanted.hooks[hook].ours);
}

static void redirect_all(struct object *object, const ElfW(Rela) * table, size_t bytes) {
    for (size_t i = 0; i < bytes / sizeof *table; i++) {
        uint32_t type = (uint32_t)ELF64_R_TYPE(table[i].r_info);
        if (type != BY_CALL && type != BY_TABLE && type != BY_DATA) continue;
        const ElfW(Sym) *symbol = &object->symbols[ELF64_R_SYM(table[i].r_info)];
        if (symbol->st_shndx != SHN_UNDEF || table[i].r_addend) continue;
        int hook = hook_of(object->names + symbol->st_name);
        if (hook >= 0) redirect(object, (void *)(object->base + table[i].r_offset), hook);
    }
}

/* ---- all objects ---- */

static int count_one(struct dl_phdr_info *info, size_t size, void *counts) {
    (void)size;
    ((uint64_t *)counts)[0] = info->dlpi_adds;
    ((uint64_t *)counts)[1] = info->dlpi_subs;
    return 1;
}

static int list_one(struct dl_phdr_info *info, size_t size, void *list) {
    struct objects *objects = list;
    (void)size;
    if (objects->count < objects->room) objects->at[objects->count] = info->dlpi_phdr;
    objects->count++;
    return 0;
}

static bool is_in(const struct objects *objects, const void *object) {
    for (size_t i = 0; i < objects->count; i++)
        if (objects->at[i] == object) return true;
    return false;
}

static int redirect_one(struct dl_phdr_info *info, size_t size, void *list) {
    struct object object;
    (void)size;
    if (!is_in(list, info->dlpi_phdr) || is_in(&done, info->dlpi_phdr)) return 0;
    read_headers(&object, info);
    uintptr_t us = (uintptr_t)dsm_got_redirect;
    if ((us >= object.low && us < object.high) || !object.symbols || !object.names) return 0;
    for (int i = 0; i < 2; i++)
        if (object.tables[i]) redirect_all(&object, object.tables[i], object.bytes[i]);
    seal(&object, true);
    return 0;
}

static bool list(struct objects *objects) {
    do {
        objects->room = objects->count + 16;
        free(objects->at);
        objects->at = malloc(objects->room * sizeof *objects->at);
        objects->count = 0;
        if (objects->at) dl_iterate_phdr(list_one, objects);
    } while (objects->at && objects->count > objects->room);
    return objects->at != NULL;
}

/* An object is listed before it is relocated and sealed: by then the loader has let go of its lock,
 * which an ordinary call waits for. Twice, for another thread may have been binding a call. */
static void redirect_listed(void) {
    struct objects now = {0};
    if (!list(&now)) return;
    void *self = dlopen(NULL, RTLD_LAZY);
    if (self) dlclose(self);
    dl_iterate_phdr(redirect_one, &now);
    dl_iterate_phdr(redirect_one, &now);
    free(done.at);
    done = now;
}

static void look(void) {
    uint64_t counts[2] = {0};
    dl_iterate_phdr(count_one, counts);
    if (counts[0] == atomic_load(&loaded) && counts[1] == atomic_load(&unloaded)) return;
    pthread_mutex_lock(&mutex);
    dl_iterate_phdr(count_one, counts); /* what comes after this is seen the next time */
    if (counts[1] != atomic_load(&unloaded)) done.count = 0; /* its place may be another's */
    redirect_listed();
    atomic_store(&loaded, counts[0]);
    atomic_store(&unloaded, counts[1]);
    pthread_mutex_unlock(&mutex);
}

/* ---- what is redirected ---- */

static void forked(void) { /* whoever was looking is not in the child */
    pthread_mutex_init(&mutex, NULL);
    done = (struct objects){0};
    atomic_store(&loaded, 0);
}

static void prepare(void) {
    void *library = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    for (size_t i = 0; i < wanted.count; i++) {
        const char *name = wanted.hooks[i].name;
        wanted.library[i] = library ? (uintptr_t)dlsym(library, name) : 0;
        wanted.found[i] = (uintptr_t)dlsym(RTLD_DEFAULT, name);
        wanted.names[hash(name) / 8] |= (uint8_t)(1 << hash(name) % 8);
    }
    pthread_atfork(NULL, NULL, forked);
}

void dsm_got_redirect(const struct dsm_hook *hooks, size_t count) {
    wanted.hooks = hooks;
    wanted.count = count < MOST_HOOKS ? count : MOST_HOOKS;
    pthread_once(&once, prepare);
    look();
}

/* What RTLD_NEXT means depends on who calls: the last call here becomes a jump, and keeps that. */
void *dsm_got_dlsym(void *handle, const char *name) {
    look();
    int hook = handle == RTLD_NEXT ? -1 : hook_of(name);
    if (hook >= 0) {
        uintptr_t found = (uintptr_t)dlsym(handle, name);
        bool same = found && (found == wanted.library[hook] || found == wanted.found[hook]);
        return (void *)(same ? (uintptr_t)wanted.hooks[hook].ours : found);
    }
    return dlsym(handle, name);
}
