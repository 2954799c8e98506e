/* The table of this family. Memory is NHWC, with channels as lanes (max.c, average.c); NCHW memory comes as N C images
 * of one channel, with neighbouring outputs as lanes (planes.c).
 *
 * Backward takes the rows of grad_x as work items, and each input sums over the windows that cover it: rows first, then
 * columns, both ascending. So no two threads write the same pixel, and each is written once. */
#include "pooling/pooling.h"

const kg_entry KG_TABLE(pooling)[] = {{"max_pool2d_forward", KG_NAME(max_pool2d_forward)},
                                      {"max_pool2d_backward", KG_NAME(max_pool2d_backward)},
                                      {"max_pool2d_indices:int32", KG_NAME(max_pool2d_indices)},
                                      {"avg_pool2d_forward", KG_NAME(avg_pool2d_forward)},
                                      {"avg_pool2d_backward", KG_NAME(avg_pool2d_backward)},
                                      {"global_avg_pool2d_forward", KG_NAME(global_avg_pool2d_forward)},
                                      {"global_avg_pool2d_backward", KG_NAME(global_avg_pool2d_backward)},
                                      {0}};
