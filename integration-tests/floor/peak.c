/*
 * peak COMMAND [ARG...]: runs it and prints the largest resident set, in kB, of it or of a child that it has waited for.
 *
 * Small and static, because a process counts what its parent had resident when it was forked.
 *
 * Build: gcc -O2 -Wall -static -o peak peak.c
 */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct rusage usage;
	int status;
	pid_t pid;

	if (argc < 2)
		return 2;
	pid = fork();
	if (pid == 0) {
		execvp(argv[1], argv + 1);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &usage) != pid)
		return 1;
	printf("%ld\n", usage.ru_maxrss);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
