// Makes the n-th file-system call of one kind below one folder fail. Preloaded into the daemon by tests/crash/calls.rs:
//   DROPREEL_FAIL_CALLS_FOLDER  absolute, without links; calls elsewhere are not counted and never fail
//   DROPREEL_FAIL_CALLS_REPORT  a file of 32 64-bit numbers: how often each kind was called, then how often a call failed
//   DROPREEL_FAIL_CALLS_KIND    a number of `enum kind`
//   DROPREEL_FAIL_CALLS_NTH     from 1; 0: only count
//   DROPREEL_FAIL_CALLS_ERRNO   the error number
//   DROPREEL_FAIL_CALLS_ON      1: this and all later calls of the kind fail; 0: only this one
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { WRITE, PWRITE, FSYNC, FDATASYNC, RENAME, OPEN, MKDIR, FTRUNCATE, UNLINK, LINK, SYNCFS, KINDS };
#define FIRED 16

static _Atomic unsigned long *report;
static char folder[PATH_MAX];
static size_t length;
static int chosen = -1, with, on;
static unsigned long nth;

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 10) : 0;
}

__attribute__((constructor)) static void begin(void) {
    const char *where = getenv("DROPREEL_FAIL_CALLS_FOLDER"), *file = getenv("DROPREEL_FAIL_CALLS_REPORT");
    if (!where || !file) return;
    int (*really_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int fd = really_open(file, O_RDWR | O_CLOEXEC);
    if (fd < 0) { perror("failing_calls: the report"); _exit(97); }
    void *map = mmap(NULL, 256, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED) { perror("failing_calls: the report"); _exit(97); }
    length = strlen(where);
    if (length >= sizeof folder) _exit(97);
    memcpy(folder, where, length + 1);
    chosen = (int)number("DROPREEL_FAIL_CALLS_KIND");
    nth = (unsigned long)number("DROPREEL_FAIL_CALLS_NTH");
    with = (int)number("DROPREEL_FAIL_CALLS_ERRNO");
    on = (int)number("DROPREEL_FAIL_CALLS_ON");
    report = map;
}

static int below(const char *path) {
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int fd_path(int fd, char *path) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t got = readlink(link, path, PATH_MAX - 1);
    if (got < 0) return 0;
    path[got] = 0;
    return 1;
}

// Whether a path is in or below the folder; a relative one starts at the descriptor `dir`. Keeps errno.
static int is_watched_at(int dir, const char *path) {
    if (!report || !path) return 0;
    if (path[0] == '/') return below(path);
    char base[PATH_MAX];
    int before = errno, known;
    if (dir == AT_FDCWD) known = getcwd(base, sizeof base) != NULL;
    else known = fd_path(dir, base);
    errno = before;
    return known && below(base);
}

static int is_watched_fd(int fd) {
    char path[PATH_MAX];
    int before = errno, known = report && fd_path(fd, path);
    errno = before;
    return known && below(path);
}

// Counts a watched call. Returns whether it must fail; then errno is set.
static int should_fail(enum kind kind, int watched) {
    if (!watched) return 0;
    unsigned long count = atomic_fetch_add(&report[kind], 1) + 1;
    if ((int)kind != chosen || nth == 0 || count < nth || (count > nth && !on)) return 0;
    atomic_fetch_add(&report[FIRED], 1);
    errno = with;
    return 1;
}

#define REAL(type, name, ...)                                                                                          \
    static type (*real)(__VA_ARGS__);                                                                                  \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

#define ON_FD(kind, type, name, params, args, ...)                                                                     \
    type name params {                                                                                                 \
        REAL(type, name, __VA_ARGS__);                                                                                 \
        return should_fail(kind, is_watched_fd(fd)) ? -1 : real args;                                                            \
    }

ON_FD(WRITE, ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n), int, const void *, size_t)
ON_FD(WRITE, ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n), int, const struct iovec *, int)
ON_FD(PWRITE, ssize_t, pwrite, (int fd, const void *b, size_t n, off_t o), (fd, b, n, o), int, const void *, size_t, off_t)
ON_FD(PWRITE, ssize_t, pwrite64, (int fd, const void *b, size_t n, off64_t o), (fd, b, n, o), int, const void *, size_t, off64_t)
ON_FD(FSYNC, int, fsync, (int fd), (fd), int)
ON_FD(FDATASYNC, int, fdatasync, (int fd), (fd), int)
ON_FD(SYNCFS, int, syncfs, (int fd), (fd), int)
ON_FD(FTRUNCATE, int, ftruncate, (int fd, off_t l), (fd, l), int, off_t)
ON_FD(FTRUNCATE, int, ftruncate64, (int fd, off64_t l), (fd, l), int, off64_t)

int rename(const char *a, const char *b) {
    REAL(int, rename, const char *, const char *);
    return should_fail(RENAME, is_watched_at(AT_FDCWD, b)) ? -1 : real(a, b);
}

int renameat(int d, const char *a, int e, const char *b) {
    REAL(int, renameat, int, const char *, int, const char *);
    return should_fail(RENAME, is_watched_at(e, b)) ? -1 : real(d, a, e, b);
}

int renameat2(int d, const char *a, int e, const char *b, unsigned f) {
    REAL(int, renameat2, int, const char *, int, const char *, unsigned);
    return should_fail(RENAME, is_watched_at(e, b)) ? -1 : real(d, a, e, b, f);
}

int link(const char *a, const char *b) {
    REAL(int, link, const char *, const char *);
    return should_fail(LINK, is_watched_at(AT_FDCWD, b)) ? -1 : real(a, b);
}

int linkat(int d, const char *a, int e, const char *b, int f) {
    REAL(int, linkat, int, const char *, int, const char *, int);
    return should_fail(LINK, is_watched_at(e, b)) ? -1 : real(d, a, e, b, f);
}

int unlink(const char *a) {
    REAL(int, unlink, const char *);
    return should_fail(UNLINK, is_watched_at(AT_FDCWD, a)) ? -1 : real(a);
}

int unlinkat(int d, const char *a, int f) {
    REAL(int, unlinkat, int, const char *, int);
    return should_fail(UNLINK, is_watched_at(d, a)) ? -1 : real(d, a, f);
}

int mkdir(const char *a, mode_t m) {
    REAL(int, mkdir, const char *, mode_t);
    return should_fail(MKDIR, is_watched_at(AT_FDCWD, a)) ? -1 : real(a, m);
}

int mkdirat(int d, const char *a, mode_t m) {
    REAL(int, mkdirat, int, const char *, mode_t);
    return should_fail(MKDIR, is_watched_at(d, a)) ? -1 : real(d, a, m);
}

static mode_t mode_of(int flags, va_list rest) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define OPENS(name)                                                                                                    \
    int name(const char *a, int flags, ...) {                                                                          \
        REAL(int, name, const char *, int, ...);                                                                       \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = mode_of(flags, rest);                                                                            \
        va_end(rest);                                                                                                  \
        return should_fail(OPEN, is_watched_at(AT_FDCWD, a)) ? -1 : real(a, flags, mode);                                        \
    }

#define OPENS_AT(name)                                                                                                 \
    int name(int d, const char *a, int flags, ...) {                                                                   \
        REAL(int, name, int, const char *, int, ...);                                                                  \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = mode_of(flags, rest);                                                                            \
        va_end(rest);                                                                                                  \
        return should_fail(OPEN, is_watched_at(d, a)) ? -1 : real(d, a, flags, mode);                                            \
    }

OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)
