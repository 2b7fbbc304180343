/* masks of resnet18 */
#include <stdint.h>
