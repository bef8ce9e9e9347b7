#ifndef TSKATA_USERNET_CONFINE_H
#define TSKATA_USERNET_CONFINE_H

/* From now on only what the network needs is answered by the kernel. Nonzero on failure, with errno. */
int confine(void);

#endif
