//go:build ignore

// measure times whole processes from outside. It is in C because the peak memory of a
// child that vfork starts begins at its parent's: a harness in Go would report its own.
//
//	measure serve OUT -- [NAME=VALUE...] CMD [ARG...] -- [NAME=VALUE...] CMD [ARG...] ...
//	measure burst N OUT -- CMD [ARG...]
//
// serve runs a command, with variables of its own, for each number on standard input: 0 is
// the first command. burst starts N processes of one command before it waits for any; with
// MACHINES in the environment each has a state directory of its own there. Standard output
// of the commands is appended to OUT; their standard input is empty. measure prints a line
// for each run: the command's number, the time from before vfork to wait4 in nanoseconds,
// user and system time in microseconds, peak memory in KiB, page faults, and the exit code
// or 128 plus the signal. burst ends with "all" and the time from the first start to the
// last end.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 2048 };

static int null, out;

static void fail(const char *what) {
	fprintf(stderr, "measure: %s: %s\n", what, strerror(errno));
	exit(2);
}

static int64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static pid_t start(char **command) {
	static char *with[MOST];
	char **own = environ;
	int n = 0, i = 0;
	for (; strchr(*command, '=') != NULL; command++) with[n++] = *command; // first, because the first of a name counts
	while (n > 0 && n < MOST - 1 && own[i] != NULL) with[n++] = own[i++];
	with[n] = NULL;
	if (n > 0) environ = with;
	pid_t pid = vfork();
	if (pid < 0) fail("vfork");
	if (pid == 0) {
		if (dup2(null, 0) < 0 || dup2(out, 1) < 0) _exit(126);
		execvp(command[0], command);
		_exit(127);
	}
	environ = own;
	return pid;
}

static pid_t reap(pid_t pid, int *code, struct rusage *use) {
	int status;
	pid_t ended = wait4(pid, &status, 0, use);
	if (ended < 0) fail("wait4");
	*code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return ended;
}

static void print(int command, int64_t took, const struct rusage *use, int code) {
	long long cpu = (use->ru_utime.tv_sec + use->ru_stime.tv_sec) * 1000000LL + use->ru_utime.tv_usec + use->ru_stime.tv_usec;
	printf("%d %lld %lld %ld %ld %d\n", command, (long long)took, cpu, use->ru_maxrss, use->ru_minflt + use->ru_majflt, code);
}

static void serve(char **commands[], int n) {
	int i, code;
	struct rusage use;
	while (scanf("%d", &i) == 1 && i >= 0 && i < n) {
		int64_t began = now();
		reap(start(commands[i]), &code, &use);
		print(i, now() - began, &use, code);
		fflush(stdout);
	}
}

static void burst(int n, char **command) {
	pid_t pids[MOST];
	int64_t began[MOST];
	char *machines = getenv("MACHINES"), dir[4096];
	for (int i = 0; i < n; i++) {
		if (machines != NULL) {
			snprintf(dir, sizeof dir, "%s/%d", machines, i);
			setenv("EXACTAUTH_STATE_DIR", dir, 1);
		}
		began[i] = now();
		pids[i] = start(command);
	}
	int64_t first = began[0];
	for (int left = n; left > 0; left--) {
		int code, i = 0;
		struct rusage use;
		pid_t pid = reap(-1, &code, &use);
		int64_t at = now();
		while (pids[i] != pid) i++;
		print(i, at - began[i], &use, code);
		if (left == 1) printf("all %lld\n", (long long)(at - first));
	}
}

int main(int argc, char **argv) {
	int one = argc > 4 && strcmp(argv[1], "serve") == 0, many = argc > 5 && strcmp(argv[1], "burst") == 0;
	int head = many ? 4 : 3, number = many ? atoi(argv[2]) : 1, n = 0;
	char **commands[MOST];
	for (int i = head; i < argc; i++) {
		if (strcmp(argv[i], "--") != 0) continue;
		argv[i] = NULL; // ends the previous command
		if (i + 1 < argc && n < MOST) commands[n++] = &argv[i + 1];
	}
	if (!(one || many) || n == 0 || number < 1 || number > MOST) {
		fprintf(stderr, "usage: measure serve OUT -- CMD... -- CMD...\n       measure burst N OUT -- CMD...\n");
		return 2;
	}
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	out = open(argv[head - 1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (null < 0 || out < 0) fail(argv[head - 1]);
	if (one) {
		serve(commands, n);
	} else {
		burst(number, commands[0]);
	}
	return 0;
}
