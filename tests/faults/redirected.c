/* A library as others build them: what it calls, and how, for test_redirected.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>

typedef ssize_t (*write_t)(int, const void *, size_t);

/* In a table that is read-only once it is loaded, and in one that is not. */
const write_t fixed[] = {write};
write_t table[] = {write};

ssize_t by_call(int fd, const void *bytes, size_t size) {
    return write(fd, bytes, size);
}

ssize_t by_fixed(int fd, const void *bytes, size_t size) {
    return fixed[size == 0](fd, bytes, size);
}

ssize_t by_table(int fd, const void *bytes, size_t size) {
    return table[size == 0](fd, bytes, size);
}

/* What is behind this library: never what it defines itself. */
int next_is_another(void) {
    return dlsym(RTLD_NEXT, "next_is_another") == NULL && dlsym(RTLD_NEXT, "write") != NULL;
}
