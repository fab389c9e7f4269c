"""Word lists for the tiny model's tasks: short and frequent words, so that most of them become one or two tokens."""

# ruff: noqa: SIM905 - long lists of words read better as text
from __future__ import annotations

NAMES: dict[str, list[str]] = {
    "en": (
        "Anna Ben Carl Dora Emma Finn Gina Hugo Ida Jack Kate Leo Mia Nina Oscar Paul Rosa Sam Tom Uma Vera Will "
        "Zoe Adam Bella Chris David Ella Frank Grace Helen Ivan Jane Kevin Lucy Mark Nora Olga Peter Ruth Sara "
        "Tina Victor Alan Betty Clara Dan Eva Fred George Henry Irene John Karl Lena Max Noah"
    ).split(),
    "zh": (
        "小明 小红 小刚 小丽 李雷 王芳 张伟 刘洋 陈静 杨光 赵敏 黄磊 周杰 吴迪 徐慧 孙悦 胡军 朱琳 高山 林风 "
        "何平 郭文 马超 罗兰 梁晨 宋佳 郑爽 谢娜 韩梅 唐宁 冯雪 于谦 董洁 萧红 程龙 曹云 袁泉 邓超 许晴 傅青"
    ).split(),
}

CITIES: list[tuple[str, str]] = [  # in English and Chinese, as all lists of pairs below
    ("Paris", "巴黎"), ("London", "伦敦"), ("Berlin", "柏林"), ("Rome", "罗马"), ("Madrid", "马德里"),
    ("Tokyo", "东京"), ("Beijing", "北京"), ("Shanghai", "上海"), ("Vienna", "维也纳"), ("Oslo", "奥斯陆"),
    ("Athens", "雅典"), ("Cairo", "开罗"), ("Moscow", "莫斯科"), ("Sydney", "悉尼"), ("Boston", "波士顿"),
    ("Chicago", "芝加哥"), ("Lima", "利马"), ("Delhi", "德里"), ("Seoul", "首尔"), ("Hanoi", "河内"),
    ("Prague", "布拉格"), ("Dublin", "都柏林"), ("Lisbon", "里斯本"), ("Zurich", "苏黎世"), ("Milan", "米兰"),
    ("Munich", "慕尼黑"), ("Toronto", "多伦多"), ("Nanjing", "南京"), ("Wuhan", "武汉"), ("Xian", "西安"),
]  # fmt: skip

CAPITALS: list[tuple[str, str, str, str]] = [  # country and capital in English, then both in Chinese
    ("France", "Paris", "法国", "巴黎"), ("England", "London", "英国", "伦敦"),
    ("Germany", "Berlin", "德国", "柏林"), ("Italy", "Rome", "意大利", "罗马"),
    ("Spain", "Madrid", "西班牙", "马德里"), ("Japan", "Tokyo", "日本", "东京"),
    ("China", "Beijing", "中国", "北京"), ("Austria", "Vienna", "奥地利", "维也纳"),
    ("Norway", "Oslo", "挪威", "奥斯陆"), ("Greece", "Athens", "希腊", "雅典"),
    ("Egypt", "Cairo", "埃及", "开罗"), ("Russia", "Moscow", "俄罗斯", "莫斯科"),
    ("Peru", "Lima", "秘鲁", "利马"), ("Korea", "Seoul", "韩国", "首尔"), ("Vietnam", "Hanoi", "越南", "河内"),
    ("Ireland", "Dublin", "爱尔兰", "都柏林"), ("Portugal", "Lisbon", "葡萄牙", "里斯本"),
    ("India", "Delhi", "印度", "德里"),
]  # fmt: skip

COLORS: list[tuple[str, str]] = [
    ("red", "红色"), ("blue", "蓝色"), ("green", "绿色"), ("yellow", "黄色"), ("black", "黑色"),
    ("white", "白色"), ("brown", "棕色"), ("gray", "灰色"), ("pink", "粉色"), ("purple", "紫色"),
    ("orange", "橙色"), ("gold", "金色"),
]  # fmt: skip

SKIES: list[tuple[str, str]] = [
    ("sunny", "晴"), ("cloudy", "多云"), ("rainy", "有雨"), ("windy", "有风"), ("snowy", "有雪"),
    ("foggy", "有雾"),
]  # fmt: skip

DEVICES: list[tuple[str, str]] = [
    ("lamp", "台灯"), ("fan", "风扇"), ("radio", "收音机"), ("heater", "暖气"), ("camera", "相机"),
    ("door", "门"), ("printer", "打印机"), ("television", "电视"), ("oven", "烤箱"), ("alarm", "闹钟"),
]  # fmt: skip

_PAIRS = """
cat 猫,dog 狗,bird 鸟,fish 鱼,horse 马,cow 牛,sheep 羊,pig 猪,mouse 老鼠,tiger 老虎,lion 狮子,bear 熊,
rabbit 兔子,monkey 猴子,snake 蛇,duck 鸭子,chicken 鸡,bee 蜜蜂,tree 树,flower 花,grass 草,leaf 叶子,forest 森林,
mountain 山,river 河,lake 湖,sea 海,island 岛,sky 天空,sun 太阳,moon 月亮,star 星星,cloud 云,rain 雨,snow 雪,
wind 风,fire 火,water 水,stone 石头,sand 沙子,house 房子,room 房间,door 门,window 窗户,wall 墙,table 桌子,
chair 椅子,bed 床,lamp 灯,clock 钟,key 钥匙,box 盒子,bag 包,cup 杯子,bottle 瓶子,knife 刀,spoon 勺子,plate 盘子,
bread 面包,rice 米饭,egg 鸡蛋,milk 牛奶,tea 茶,coffee 咖啡,sugar 糖,salt 盐,apple 苹果,pear 梨,banana 香蕉,
grape 葡萄,lemon 柠檬,melon 瓜,cake 蛋糕,soup 汤,meat 肉,book 书,paper 纸,pen 笔,letter 信,word 词,story 故事,
song 歌,music 音乐,picture 图片,school 学校,teacher 老师,student 学生,friend 朋友,child 孩子,mother 妈妈,
father 爸爸,brother 兄弟,sister 姐妹,doctor 医生,farmer 农民,king 国王,queen 女王,city 城市,village 村庄,
street 街道,bridge 桥,shop 商店,market 市场,hospital 医院,garden 花园,car 汽车,bus 公交车,train 火车,plane 飞机,
ship 船,bicycle 自行车,road 路,map 地图,ball 球,game 游戏,toy 玩具,shoe 鞋,hat 帽子,shirt 衬衫,coat 外套,
ring 戒指,hand 手,foot 脚,head 头,eye 眼睛,ear 耳朵,nose 鼻子,mouth 嘴,heart 心,day 白天,night 夜晚,morning 早上,
evening 晚上,spring 春天,summer 夏天,autumn 秋天,winter 冬天,year 年,week 星期,hour 小时,time 时间,money 钱,
gold 黄金,silver 银,iron 铁,glass 玻璃,wood 木头
"""
PAIRS: list[tuple[str, str]] = [(pair.split()[0], pair.split()[1]) for pair in _PAIRS.replace("\n", "").split(",")]

# Words that only need to be copied: they widen the vocabulary without having to be known.
EXTRA: dict[str, list[str]] = {
    "en": (
        "about above after again all also always among answer any around ask back because become before begin "
        "behind below best better between big both bring build busy buy call care carry change clean clear close "
        "cold come cook cool cross cut dark deep down draw dream drink drive dry early earth easy eat empty end "
        "enough even ever every face fall far fast feel few field fill find fine first five floor fly follow "
        "food four free fresh front full give good great ground grow half happy hard have hear heavy help here "
        "high hold home hope hot hurry idea inside join jump just keep kind know land large last late laugh "
        "learn leave left less life light like line listen little live long look lose love low make many mean "
        "meet mind minute more most move much must name near need never new next nice north nothing now number "
        "often old once one only open other over own part pass pay people place plan plant play please point "
        "power press pull push quick quiet quite reach read ready real rest rich ride right rise round run safe "
        "same save say second see seem sell send set seven shape share short show side sing sit six size sleep "
        "slow small smile soft some soon sound south speak stand start stay step still stop strong study such "
        "sure sweet swim take talk tall teach tell ten thank thick thin thing think three today together "
        "tomorrow top touch travel true try turn two under until use very visit voice wait walk want warm wash "
        "watch wear west what when where which while wide win wish with work world write wrong young"
    ).split(),
    "zh": (
        "一些 上面 下面 中间 今天 明天 昨天 现在 以后 以前 开始 结束 知道 觉得 认为 希望 喜欢 需要 可以 应该 "
        "因为 所以 但是 如果 虽然 已经 正在 经常 总是 非常 特别 一起 工作 学习 生活 休息 运动 跑步 游泳 唱歌 "
        "跳舞 旅行 吃饭 喝水 睡觉 起床 说话 看见 听见 回答 问题 帮助 使用 打开 关闭 准备 完成 发现 记得 忘记 "
        "高兴 难过 漂亮 聪明 安静 热闹 干净 容易 困难 重要 简单 复杂 便宜 新鲜 温暖 寒冷 东方 西方 南方 北方 "
        "左边 右边 前面 后面 里面 外面 世界 国家 地方 时候 东西 事情 办法 机会 经验 意思 语言 文化 历史 科学 "
        "电脑 手机 电话 网络 公司 家庭 社会 自然 动物 植物 颜色 数字 声音 味道 天气 温度 健康 身体"
    ).split(),
}
