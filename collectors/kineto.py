class KinetoRecorder:
    name = "kineto"
    def start(self, *a): raise ImportError("x")
