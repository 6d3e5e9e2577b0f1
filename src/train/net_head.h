/* The last norm, the head and the loss, a chunk of rows at a time. Private to src/train. */
#ifndef QUIRE_TRAIN_NET_HEAD_H
#define QUIRE_TRAIN_NET_HEAD_H

#include "net_private.h"

/* The loss of net->x_out. nll: [T], or NULL. With wants_gradient: scale times that of x_out in net->scratch.dx, and
 * added to those of the head and the norm. */
struct net_loss net_head(struct net *net, const struct net_batch *batch, bool wants_gradient, double scale, float *nll);

#endif
