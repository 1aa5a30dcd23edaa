/* fcntl and ioctl take what they take depending on their second argument: C can say so, stable Rust cannot. */

#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>

int baton_packetdrill_fcntl_of(void *userdata, int fd, int cmd, int arg);
int baton_packetdrill_ioctl_of(void *userdata, int fd, unsigned long request, int *arg);

int baton_packetdrill_fcntl(void *userdata, int fd, int cmd, ...)
{
	int arg = 0;

	if (cmd == F_SETFL || cmd == F_SETFD) {
		va_list args;
		va_start(args, cmd);
		arg = va_arg(args, int);
		va_end(args);
	}
	return baton_packetdrill_fcntl_of(userdata, fd, cmd, arg);
}

/* Every request that is served takes a pointer to an int. */
int baton_packetdrill_ioctl(void *userdata, int fd, unsigned long request, ...)
{
	va_list args;
	va_start(args, request);
	int *arg = va_arg(args, int *);
	va_end(args);
	return baton_packetdrill_ioctl_of(userdata, fd, request, arg);
}
