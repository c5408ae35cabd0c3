/*
 * The floor under a container start: what no runtime can leave out, done in the shortest way we know.
 *
 * One clone into new namespaces, an overlay, the mounts and device nodes that every OCI container has, pivot_root, exec
 * of a static program, wait. No configuration is read, no state is kept, nothing is undone that the kernel undoes by
 * itself. Benchmarks give a runtime's time as a multiple of this one's, measured in the same run: ratios travel between
 * machines, milliseconds do not.
 *
 *   floor [--pause MS] DIR COUNT [FEATURE,...]
 *
 * DIR holds rootfs/ with a static program at rootfs/bin/true; u/, w/ and m/ (an overlay's upper, work and mounted
 * directory) are made beside it where they are missing. Each start is timed by itself; --pause sleeps before each one,
 * because some costs (grace periods) hide in a tight loop. Prints one line: "mean M median M min M ms over COUNT".
 *
 *   cg    also make, enter and remove a cgroup in every v1 hierarchy, or in the v2 one where there is no other
 *   net   also a network namespace
 *
 * Build: gcc -O2 -Wall -static -o floor floor.c
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <linux/sched.h>
#include <mntent.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif

#define MAX_HIERARCHIES 32

/* A text that fits, or the end. */
#define TEXT(buffer, ...) text((buffer), sizeof(buffer), __VA_ARGS__)

struct hierarchy {
    char dir[PATH_MAX];   /* our cgroup in it */
    char mount[PATH_MAX]; /* where it is mounted */
    bool cpuset;          /* a v1 cpuset, which is made empty and cannot be entered so */
};

static struct {
    char merged[PATH_MAX];
    char overlay[3 * PATH_MAX + 64];
    bool cgroups;
    bool net;
    long pause;
    int count;
    struct hierarchy v1[MAX_HIERARCHIES];
    int v1_count;
    struct hierarchy v2;
    bool has_v2;
} plan;

/* ---- saying and reading ---- */

static void die(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static void text(char *buffer, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(buffer, size, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= size) {
        errno = ENAMETOOLONG;
        die(format);
    }
}

static void write_file(const char *path, const char *value)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, value, strlen(value)) < 0)
        die(path);
    close(fd);
}

static void copy_file(const char *from_dir, const char *to_dir, const char *name)
{
    char path[2 * PATH_MAX], value[4096];
    TEXT(path, "%s/%s", from_dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, value, sizeof(value) - 1);
    if (length < 0)
        die(path);
    close(fd);
    value[length] = '\0';
    TEXT(path, "%s/%s", to_dir, name);
    write_file(path, value);
}

/* ---- cgroups ---- */

static void add_hierarchy(struct hierarchy *hierarchy, const struct mntent *mount, bool cpuset)
{
    TEXT(hierarchy->mount, "%s", mount->mnt_dir);
    TEXT(hierarchy->dir, "%s/floor-%d", mount->mnt_dir, getpid());
    hierarchy->cpuset = cpuset;
}

static void find_hierarchies(void)
{
    FILE *mounts = setmntent("/proc/self/mounts", "re");
    if (!mounts)
        die("/proc/self/mounts");
    for (struct mntent *mount; (mount = getmntent(mounts));) {
        if (!strcmp(mount->mnt_type, "cgroup") && plan.v1_count < MAX_HIERARCHIES) {
            add_hierarchy(&plan.v1[plan.v1_count++], mount, hasmntopt(mount, "cpuset") != NULL);
        } else if (!strcmp(mount->mnt_type, "cgroup2")) {
            add_hierarchy(&plan.v2, mount, false);
            plan.has_v2 = true;
        }
    }
    endmntent(mounts);
    /* Beside v1 the v2 hierarchy has no controllers; a floor does not enter it. */
    if (plan.v1_count)
        plan.has_v2 = false;
}

static void make_cgroups(void)
{
    for (int i = 0; i < plan.v1_count; i++) {
        struct hierarchy *hierarchy = &plan.v1[i];
        if (mkdir(hierarchy->dir, 0755))
            die(hierarchy->dir);
        if (hierarchy->cpuset) {
            copy_file(hierarchy->mount, hierarchy->dir, "cpuset.cpus");
            copy_file(hierarchy->mount, hierarchy->dir, "cpuset.mems");
        }
    }
    if (plan.has_v2 && mkdir(plan.v2.dir, 0755))
        die(plan.v2.dir);
}

/* A process with one thread that moves itself by writing 0 to `tasks` is spared the grace period of `cgroup.procs`. */
static void enter_v1_cgroups(void)
{
    char path[2 * PATH_MAX];
    for (int i = 0; i < plan.v1_count; i++) {
        TEXT(path, "%s/tasks", plan.v1[i].dir);
        write_file(path, "0");
    }
}

static void remove_cgroups(void)
{
    for (int i = 0; i < plan.v1_count; i++)
        if (rmdir(plan.v1[i].dir))
            die(plan.v1[i].dir);
    if (plan.has_v2 && rmdir(plan.v2.dir))
        die(plan.v2.dir);
}

/* ---- the container ---- */

static void mount_one(const char *type, const char *target, unsigned long flags, const char *data)
{
    if (mount(type, target, type, flags, data))
        die(target);
}

static void make_dir(const char *path)
{
    if (mkdir(path, 0755) && errno != EEXIST)
        die(path);
}

static void mount_root(void)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        die("make / private");
    mount_one("overlay", plan.merged, 0, plan.overlay);
    if (chdir(plan.merged))
        die(plan.merged);
    make_dir("proc");
    make_dir("dev");
    make_dir("sys");
}

static void mount_file_systems(void)
{
    const unsigned long safe = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    mount_one("proc", "proc", safe, NULL);
    mount_one("tmpfs", "dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
    make_dir("dev/pts");
    make_dir("dev/shm");
    make_dir("dev/mqueue");
    mount_one("devpts", "dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620");
    mount_one("tmpfs", "dev/shm", safe, "mode=1777,size=65536k");
    mount_one("mqueue", "dev/mqueue", safe, NULL);
    mount_one("sysfs", "sys", safe | MS_RDONLY, NULL);
}

static void make_devices(void)
{
    static const struct { const char *path; int major, minor; } devices[] = {
        {"dev/null", 1, 3},   {"dev/zero", 1, 5},    {"dev/full", 1, 7},
        {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0},
    };
    for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
        if (mknod(devices[i].path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)))
            die(devices[i].path);
}

static void live(void)
{
    enter_v1_cgroups();
    /* Only now, or the namespace would start where we came from. */
    if (plan.v1_count && unshare(CLONE_NEWCGROUP))
        die("unshare");
    mount_root();
    mount_file_systems();
    make_devices();
    if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH))
        die("pivot_root");
    if (sethostname("floor", 5))
        die("sethostname");
    execl("/bin/true", "true", (char *)NULL);
    die("/bin/true");
}

static pid_t clone_into_namespaces(void)
{
    struct clone_args args = {
        .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | (plan.net ? CLONE_NEWNET : 0),
        .exit_signal = SIGCHLD,
    };
    int cgroup = -1;
    if (!plan.v1_count)
        args.flags |= CLONE_NEWCGROUP;
    if (plan.has_v2) {
        cgroup = open(plan.v2.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (cgroup < 0)
            die(plan.v2.dir);
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup;
    }
    pid_t pid = syscall(SYS_clone3, &args, sizeof(args));
    if (pid && cgroup >= 0)
        close(cgroup);
    return pid;
}

static void start_one(void)
{
    make_cgroups();
    pid_t pid = clone_into_namespaces();
    if (pid < 0)
        die("clone3");
    if (pid == 0)
        live();
    int status;
    if (waitpid(pid, &status, 0) != pid)
        die("waitpid");
    remove_cgroups();
    if (status) {
        fprintf(stderr, "floor: the program ended with status %#x\n", status);
        exit(1);
    }
}

/* ---- the measurement ---- */

static double milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static int ascending(const void *left, const void *right)
{
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

static void measure(void)
{
    double *times = calloc(plan.count, sizeof(*times)), sum = 0;
    if (!times)
        die("calloc");
    for (int i = 0; i < plan.count; i++) {
        if (plan.pause)
            usleep(plan.pause * 1000);
        double start = milliseconds();
        start_one();
        times[i] = milliseconds() - start;
        sum += times[i];
    }
    qsort(times, plan.count, sizeof(*times), ascending);
    double median = times[plan.count / 2];
    printf("mean %.2f median %.2f min %.2f ms over %d\n", sum / plan.count, median, times[0], plan.count);
    free(times);
}

/* ---- the command line ---- */

static void usage(void)
{
    fprintf(stderr, "usage: floor [--pause MS] DIR COUNT [cg,net]\n");
    exit(2);
}

static long number(const char *argument, long least)
{
    char *end;
    errno = 0;
    long value = strtol(argument, &end, 10);
    if (errno || *end || end == argument || value < least || value > 1000000)
        usage();
    return value;
}

static void lay_out(const char *argument)
{
    static const char *const parts[] = {"u", "w", "m"};
    char path[2 * PATH_MAX], dir[PATH_MAX];
    if (!realpath(argument, dir))
        die(argument);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        TEXT(path, "%s/%s", dir, parts[i]);
        make_dir(path);
    }
    TEXT(plan.merged, "%s/m", dir);
    TEXT(plan.overlay, "lowerdir=%s/rootfs,upperdir=%s/u,workdir=%s/w", dir, dir, dir);
}

static void add_features(char *list)
{
    char *const known[] = {"cg", "net", NULL};
    for (char *value; *list;) {
        switch (getsubopt(&list, known, &value)) {
        case 0: plan.cgroups = true; break;
        case 1: plan.net = true; break;
        default: usage();
        }
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"pause", required_argument, NULL, 'p'}, {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option != 'p')
            usage();
        plan.pause = number(optarg, 0);
    }
    int given = argc - optind;
    if (given < 2 || given > 3)
        usage();
    plan.count = number(argv[optind + 1], 1);
    if (given == 3)
        add_features(argv[optind + 2]);
    lay_out(argv[optind]);
    if (plan.cgroups)
        find_hierarchies();
    measure();
    return 0;
}
