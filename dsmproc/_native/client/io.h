/* The C library's calls that take or give memory, for memory that may be shared. Each is as the one
 * after which it is named: results, errno, signals, partial transfers.
 */
#ifndef DSM_CLIENT_IO_H
#define DSM_CLIENT_IO_H
#include <stdio.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

/* ---- io.c ---- */
ssize_t dsm_io_read(int fd, void *bytes, size_t size);
ssize_t dsm_io_write(int fd, const void *bytes, size_t size);
ssize_t dsm_io_pread(int fd, void *bytes, size_t size, off_t offset);
ssize_t dsm_io_pwrite(int fd, const void *bytes, size_t size, off_t offset);
ssize_t dsm_io_readv(int fd, const struct iovec *parts, int count);
ssize_t dsm_io_writev(int fd, const struct iovec *parts, int count);
ssize_t dsm_io_preadv(int fd, const struct iovec *parts, int count, off_t offset);
ssize_t dsm_io_pwritev(int fd, const struct iovec *parts, int count, off_t offset);
ssize_t dsm_io_preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags);
ssize_t dsm_io_pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags);
ssize_t dsm_io_recv(int fd, void *bytes, size_t size, int flags);
ssize_t dsm_io_recvfrom(int fd, void *bytes, size_t size, int flags, struct sockaddr *from,
                        socklen_t *length);
ssize_t dsm_io_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t dsm_io_send(int fd, const void *bytes, size_t size, int flags);
ssize_t dsm_io_sendto(int fd, const void *bytes, size_t size, int flags, const struct sockaddr *to,
                      socklen_t length);
ssize_t dsm_io_sendmsg(int fd, const struct msghdr *message, int flags);

/* ---- streams.c: these reach the system inside the C library ---- */
size_t dsm_stream_read(void *bytes, size_t size, size_t count, FILE *stream);
size_t dsm_stream_write(const void *bytes, size_t size, size_t count, FILE *stream);
size_t dsm_stream_read_unlocked(void *bytes, size_t size, size_t count, FILE *stream);
size_t dsm_stream_write_unlocked(const void *bytes, size_t size, size_t count, FILE *stream);
int dsm_stream_puts(const char *text, FILE *stream);
int dsm_stream_puts_unlocked(const char *text, FILE *stream);

#endif
