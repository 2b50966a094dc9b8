/* Fails the N-th system call of pgbackupd's own processes, by seccomp and ptrace.
 *
 *     inject LOG POSITION ERROR MODE DIRECTORY PROGRAM [ARGUMENT]...
 *
 * Counts the calls of all processes below PROGRAM whose executable has "pgbackupd" in its name: those on files
 * below DIRECTORY, and those that ask the kernel for a pipe, a process, a thread or a socket. POSITION 0 only
 * counts. MODE is "once", or "sticky": every later one fails too. LOG gets the calls that failed and, last, a line
 * `TOTAL <calls> <failed>`. Exits as PROGRAM does; with 128 and the signal's number if one killed it. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
#error "the registers of a system call are those of x86-64 here"
#endif

enum where { FD, PATH_FIRST, PATH_SECOND, NOWHERE };

static const struct call {
    int number;
    enum where where;
} calls[] = {
    {SYS_read, FD},          {SYS_write, FD},          {SYS_pread64, FD},      {SYS_pwrite64, FD},
    {SYS_readv, FD},         {SYS_writev, FD},         {SYS_lseek, FD},        {SYS_fsync, FD},
    {SYS_fdatasync, FD},     {SYS_sync_file_range, FD},{SYS_fadvise64, FD},    {SYS_ftruncate, FD},
    {SYS_fallocate, FD},     {SYS_flock, FD},          {SYS_fcntl, FD},        {SYS_fstat, FD},
    {SYS_fstatfs, FD},       {SYS_fchmod, FD},         {SYS_fchown, FD},       {SYS_getdents64, FD},
    {SYS_open, PATH_FIRST},  {SYS_openat, PATH_SECOND},{SYS_openat2, PATH_SECOND}, {SYS_statx, PATH_SECOND},
    {SYS_stat, PATH_FIRST},  {SYS_lstat, PATH_FIRST},  {SYS_newfstatat, PATH_SECOND}, {SYS_statfs, PATH_FIRST},
    {SYS_readlink, PATH_FIRST}, {SYS_readlinkat, PATH_SECOND}, {SYS_access, PATH_FIRST},
    {SYS_faccessat, PATH_SECOND}, {SYS_faccessat2, PATH_SECOND}, {SYS_mkdir, PATH_FIRST},
    {SYS_mkdirat, PATH_SECOND}, {SYS_rmdir, PATH_FIRST}, {SYS_unlink, PATH_FIRST}, {SYS_unlinkat, PATH_SECOND},
    {SYS_rename, PATH_FIRST}, {SYS_renameat, PATH_SECOND}, {SYS_renameat2, PATH_SECOND}, {SYS_link, PATH_FIRST},
    {SYS_linkat, PATH_SECOND}, {SYS_symlink, PATH_FIRST}, {SYS_symlinkat, PATH_SECOND}, {SYS_chmod, PATH_FIRST},
    {SYS_fchmodat, PATH_SECOND}, {SYS_chown, PATH_FIRST}, {SYS_fchownat, PATH_SECOND},
    {SYS_pipe2, NOWHERE},    {SYS_clone, NOWHERE},     {SYS_clone3, NOWHERE},  {SYS_socket, NOWHERE},
    {SYS_connect, NOWHERE},  {SYS_epoll_create1, NOWHERE}, {SYS_eventfd2, NOWHERE},
};
enum { COUNT = sizeof calls / sizeof *calls };

static const char *directory;

static const struct call *find(long number) {
    for (int i = 0; i < COUNT; i++)
        if (calls[i].number == number) return &calls[i];
    return NULL;
}

static void read_text(pid_t task, unsigned long from, char *text, size_t size) {
    size_t got = 0;
    text[0] = 0;
    while (got + sizeof(long) < size) {
        errno = 0;
        long word = ptrace(PTRACE_PEEKDATA, task, from + got, 0);
        if (errno) return;
        memcpy(text + got, &word, sizeof word);
        got += sizeof word;
        text[got] = 0;
        if (memchr(&word, 0, sizeof word)) return;
    }
}

static void read_link(const char *link, char *text, size_t size) {
    ssize_t length = readlink(link, text, size - 1);
    text[length < 0 ? 0 : length] = 0;
}

/* What a call is about: the file of its descriptor, and its path. */
static void subject(pid_t task, const struct user_regs_struct *registers, enum where where, char *text, size_t size) {
    char link[64], descriptor[512] = "", path[512] = "";
    long number = where == PATH_FIRST || where == NOWHERE ? -1 : (int)registers->rdi;
    if (number >= 0) {
        snprintf(link, sizeof link, "/proc/%d/fd/%ld", task, number);
        read_link(link, descriptor, sizeof descriptor);
    } else if (where == PATH_SECOND) {
        snprintf(link, sizeof link, "/proc/%d/cwd", task);
        read_link(link, descriptor, sizeof descriptor);
    }
    if (where == PATH_FIRST) read_text(task, registers->rdi, path, sizeof path);
    if (where == PATH_SECOND) read_text(task, registers->rsi, path, sizeof path);
    /* An absolute path has nothing to do with the descriptor. */
    snprintf(text, size, "%s|%s", path[0] == '/' ? "" : descriptor, path);
}

static int is_ours(pid_t task) {
    char link[64], executable[512];
    snprintf(link, sizeof link, "/proc/%d/exe", task);
    read_link(link, executable, sizeof executable);
    const char *name = strrchr(executable, '/');
    return strstr(name ? name : executable, "pgbackupd") != NULL;
}

static void become(char **program) {
    struct sock_filter filter[COUNT + 3];
    int length = 0;
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < COUNT; i++)
        filter[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i].number,
                                                        (unsigned char)(COUNT - i), 0);
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    struct sock_fprog code = {(unsigned short)length, filter};
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &code)) _exit(99);
    execv(program[0], program);
    _exit(98);
}

int main(int count, char **arguments) {
    if (count < 7) {
        fputs("usage: inject LOG POSITION ERROR once|sticky DIRECTORY PROGRAM [ARGUMENT]...\n", stderr);
        return 64;
    }
    FILE *log = fopen(arguments[1], "w");
    long position = atol(arguments[2]), seen = 0, failed = 0;
    int error = atoi(arguments[3]), sticky = !strcmp(arguments[4], "sticky"), status, code = 70;
    directory = arguments[5];
    if (!log) return 73;

    pid_t child = fork();
    if (!child) become(arguments + 6);
    waitpid(child, &status, 0);
    ptrace(PTRACE_SETOPTIONS, child, 0,
           PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACESECCOMP | PTRACE_O_TRACEEXEC |
               PTRACE_O_EXITKILL);
    ptrace(PTRACE_CONT, child, 0, 0);
    for (;;) {
        pid_t task = waitpid(-1, &status, __WALL);
        if (task < 0) {
            if (errno == EINTR) continue;
            break;
        }
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (task == child) code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            continue;
        }
        int signal = WSTOPSIG(status), event = status >> 16;
        if (event == PTRACE_EVENT_SECCOMP) {
            struct user_regs_struct registers;
            char about[1100] = "";
            ptrace(PTRACE_GETREGS, task, 0, &registers);
            const struct call *call = find((long)registers.orig_rax);
            int counts = call && is_ours(task);
            if (counts && call->where != NOWHERE) {
                subject(task, &registers, call->where, about, sizeof about);
                counts = strstr(about, directory) != NULL;
            }
            if (counts) {
                seen++;
                if (position && (seen == position || (sticky && seen > position))) {
                    fprintf(log, "%ld call %lld %s\n", seen, registers.orig_rax, about);
                    failed++;
                    registers.orig_rax = (unsigned long long)-1;
                    registers.rax = (unsigned long long)-error;
                    ptrace(PTRACE_SETREGS, task, 0, &registers);
                }
            }
            signal = 0;
        } else if (event || signal == SIGSTOP || signal == SIGTRAP) {
            /* The first stop of a new task, and what ptrace itself reports. */
            signal = 0;
        }
        ptrace(PTRACE_CONT, task, 0, signal);
    }
    fprintf(log, "TOTAL %ld %ld\n", seen, failed);
    fclose(log);
    return code;
}
