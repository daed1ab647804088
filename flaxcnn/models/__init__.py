"""The models: a small CNN, torchvision's ResNets, ResNeXts and Wide ResNets, CIFAR and pre-activation ResNets.

`flaxcnn.models.resnet18()` builds one, as in torchvision; `create(name, **options)` builds any by name.
Attribute and parameter names are torchvision's, layouts are NHWC and HWIO.
"""

from flaxcnn.models.cnn import CNN as CNN
from flaxcnn.models.registry import builder, create, names
from flaxcnn.models.resnet import ResNet as ResNet

for _name in names():
    globals()[_name] = builder(_name)

__all__ = ["CNN", "ResNet", "create", "names", *names()]
