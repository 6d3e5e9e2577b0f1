/* One block, both ways, over all rows of a micro-batch. Private to src/train. */
#ifndef QUIRE_TRAIN_NET_BLOCK_H
#define QUIRE_TRAIN_NET_BLOCK_H

#include "net_private.h"

/* From a->x to x_out; fills in the rest of a. x_out may be a->x where nobody comes back to it. */
void net_block_forward(struct net *net, uint32_t layer, const struct net_batch *batch,
                       const struct block_activations *a, float *x_out);

/* From the gradient of x_out to that of a->x, in place in net->scratch.dx; adds to the parameters' gradients. */
void net_block_backward(struct net *net, uint32_t layer, const struct net_batch *batch,
                        const struct block_activations *a);

#endif
